#!/usr/bin/env bash
# Builds the extension with AddressSanitizer and UndefinedBehaviorSanitizer and runs the kernel tests on it.
#
# The first finding ends the run. Each usable instruction set has its turn, in a process of its own. Arguments
# are further options for pytest; PYTHON names the Python to use (NumPy, pytest, hypothesis, pybind11 and CMake installed), by
# default .venv's.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/sanitize
python=${PYTHON:-$root/.venv/bin/python}
compiler=${CXX:-g++}

fail() {
  echo "sanitize.sh: $*" >&2
  exit 1
}

command -v "$python" > /dev/null || fail "expected a Python with the package's dev extra; there is no $python"
"$compiler" --version 2> /dev/null | grep -q 'Free Software Foundation' \
  || fail "expected GCC, since its sanitizer libraries are preloaded; set CXX"
cmake=$(dirname "$(command -v "$python")")/cmake
[ -x "$cmake" ] || cmake=cmake

mkdir -p "$build"
# Other build types would have their symbols stripped, and reports could not name functions.
"$cmake" -S "$root" -B "$build/cmake" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_CXX_FLAGS=-fno-sanitize-recover=all -DFUSEDLSTM_SANITIZE=address,undefined -DFUSEDLSTM_CUDA=OFF \
  -DPython_EXECUTABLE="$(command -v "$python")" \
  -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" > "$build.log" 2>&1 \
  || { cat "$build.log"; fail "CMake could not configure the build"; }
"$cmake" --build "$build/cmake" --target _core -j "$(nproc)"

rm -rf "$build/package"
mkdir -p "$build/package"
cp -r "$root/python/fusedlstm" "$build/package/"
find "$build/package" \( -name '*.so' -o -name __pycache__ \) -prune -exec rm -rf {} +
cp "$build"/cmake/_core*.so "$build/package/fusedlstm/"

cd "$root"
export PYTHONPATH=$build/package PYTHONDONTWRITEBYTECODE=1
# Python itself frees little at exit. A failing allocation must come back as an exception, as without sanitizers.
export ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:allocator_may_return_null=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export FUSEDLSTM_TEST_REDUCED=${FUSEDLSTM_TEST_REDUCED:-1} FUSEDLSTM_NUM_THREADS=2
# Python is not built with the sanitizers: they and the C++ library, whose exceptions they watch, come first.
preload=
for library in libasan.so libubsan.so libstdc++.so; do
  preload+=$(readlink -f "$("$compiler" -print-file-name="$library")"):
done
run() { env LD_PRELOAD="${preload%:}" "$python" "$@"; }

# The best set runs everything. The others are the same source at other widths: what could differ is where their
# vectors end, so they run the tests over sizes and layouts, without those of threads.
tests=(tests/kernels)
for set in $(run -c 'from fusedlstm import ops; print(*ops.instruction_sets())'); do
  echo "sanitize.sh: $set"
  # Python's own streams are captured and the process's are not: a report must outlive the process it ends.
  FUSEDLSTM_INSTRUCTION_SET=$set run -m pytest -q --capture=sys -p no:cacheprovider "${tests[@]}" "$@" \
    || fail "findings or failed tests on $set, see above"
  tests=(tests/kernels/test_{lstm_forward,lstm_backward,lengths,step_and_cell,dense,layouts,dropout,updates}.py
    -k 'not test_threads')
done
