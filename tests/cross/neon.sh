#!/usr/bin/env bash
# Builds the extension for 64-bit ARM on an x86-64 Debian machine and runs the kernel tests on it under QEMU.
#
# Nothing of the machine's own package state changes: an ARM Python of the same Debian release is downloaded
# with a private apt state and unpacked, and the ARM wheels of NumPy and pytest come from pip. Everything is
# kept in build/cross and reused.
#
# Missing tools are installed with apt-get when this runs as root; otherwise the script says which are missing.
# Arguments are further options for pytest. PYTHON names the host's Python with pip; the default is .venv's, or python3.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cross=$root/build/cross
sysroot=$cross/sysroot
target=aarch64-linux-gnu

fail() {
  echo "neon.sh: $*" >&2
  exit 1
}

# The CMake beside the chosen Python when there is one, else the machine's; one that runs, not just a name.
find_cmake() {
  local candidate
  for candidate in "$(dirname "$(command -v "$python")")/cmake" cmake; do
    if "$candidate" --version > /dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
}

find_qemu() { command -v qemu-aarch64-static || command -v qemu-aarch64 || true; }

# Tools that are needed and absent, as Debian's package names.
missing_packages() {
  [ -n "$(find_qemu)" ] || echo qemu-user
  command -v "$target-g++" > /dev/null || echo "g++-$target"
  [ -n "$(find_cmake)" ] || echo cmake
  command -v ninja > /dev/null || command -v make > /dev/null || echo make
  command -v dpkg-deb > /dev/null || echo dpkg
  command -v python3 > /dev/null || echo python3
  "$python" -m pip --version > /dev/null 2>&1 || echo python3-pip
}

check_machine() {
  [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || fail "expected an x86-64 Linux machine, got $(uname -s)-$(uname -m)"
  command -v apt-get > /dev/null || fail "expected a Debian machine with apt-get; there is none here"
  local missing
  missing=$(missing_packages | tr '\n' ' ')
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ]; then
    fail "these packages are needed; install them with: apt-get install $missing"
  fi
  echo "neon.sh: installing $missing"
  apt-get update -qq
  # shellcheck disable=SC2086  # a list of names
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
}

# Unpacks an ARM Python, with its headers and libraries, of the release that this machine's apt sources name.
make_sysroot() {
  [ ! -e "$sysroot.done" ] || return 0
  local apt=$cross/apt
  rm -rf "$sysroot" "$apt"
  mkdir -p "$sysroot" "$apt/state/lists/partial" "$apt/cache/archives/partial"
  : > "$apt/state/status"
  cat > "$apt/apt.conf" << END
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "$(id -un)";
Dir::State "$apt/state";
Dir::State::status "$apt/state/status";
Dir::Cache "$apt/cache";
END
  echo "neon.sh: downloading an ARM Python"
  APT_CONFIG=$apt/apt.conf apt-get update -qq
  # An empty package state makes apt fetch Python's whole closure, the C library included.
  APT_CONFIG=$apt/apt.conf apt-get install -qq -y --download-only --no-install-recommends \
    python3 libpython3-dev libstdc++6 > "$apt/log" \
    || fail "apt could not fetch the ARM packages (see $apt/log); do the apt sources offer arm64?"
  local package
  for package in "$apt"/cache/archives/*.deb; do
    dpkg-deb -x "$package" "$sysroot"
  done
  # Debian's pyconfig.h includes its twin as <aarch64-linux-gnu/...>: a folder that offers that and nothing else.
  mkdir "$sysroot/multiarch"
  ln -s "../usr/include/$target" "$sysroot/multiarch/$target"
  rm -rf "$apt"
  touch "$sysroot.done"
}

# Installs the ARM wheels into $cross/site. Several platform tags, since pip does not derive the older ones.
make_site() {
  local version=$1 stamp=$cross/site-$1.done
  [ ! -e "$stamp" ] || return 0
  rm -rf "$cross/site"
  echo "neon.sh: installing ARM wheels for Python $version"
  "$python" -m pip install --quiet --target "$cross/site" --only-binary=:all: --no-compile \
    --implementation cp --python-version "$version" \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
    --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 \
    numpy pytest hypothesis pybind11
  touch "$stamp"
}

build() {
  local version=$1 cmake
  cmake=$(find_cmake)
  "$cmake" -S "$root" -B "$cross/cmake" \
    -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
    -DCMAKE_CXX_COMPILER="$target-g++" \
    -DFUSEDLSTM_WERROR=ON -DFUSEDLSTM_CUDA=OFF \
    -Dpybind11_DIR="$cross/site/pybind11/share/cmake/pybind11" \
    -DPython_INCLUDE_DIR="$sysroot/usr/include/python$version" \
    -DCMAKE_CXX_FLAGS="-isystem $sysroot/multiarch" \
    -DPYTHON_MODULE_EXTENSION=.so -DPYTHON_MODULE_DEBUG_POSTFIX= > "$cross/cmake.log" \
    || { cat "$cross/cmake.log"; fail "CMake could not configure the ARM build"; }
  "$cmake" --build "$cross/cmake" --target _core -j "$(nproc)"
  rm -rf "$cross/package"
  mkdir -p "$cross/package"
  cp -r "$root/python/fusedlstm" "$cross/package/"
  find "$cross/package" \( -name '*.so' -o -name __pycache__ \) -prune -exec rm -rf {} +
  cp "$cross/cmake/_core.so" "$cross/package/fusedlstm/"
}

python=${PYTHON:-}
if [ -z "$python" ]; then
  python=python3
  [ ! -x "$root/.venv/bin/python" ] || python=$root/.venv/bin/python
fi

check_machine
mkdir -p "$cross"
make_sysroot
arm_python=$(readlink -f "$sysroot/usr/bin/python3")
version=$(basename "$arm_python" | sed 's/^python//')
make_site "$version"
build "$version"

echo "neon.sh: running the kernel tests under $(find_qemu)"
cd "$root"
export FUSEDLSTM_TEST_REDUCED=1 FUSEDLSTM_INSTRUCTION_SET=neon FUSEDLSTM_NUM_THREADS=2
export PYTHONHOME=$sysroot/usr PYTHONPATH=$cross/package:$cross/site PYTHONNOUSERSITE=1
export PYTHONPYCACHEPREFIX=$cross/pycache
# Values, gradients and options: what another width of vectors could break. Threads and bits do not depend on it, take
# the emulator far longer, and QEMU 7.2 aborts (plugins/core.c, qemu_plugin_vcpu_init_hook) when a forked child starts
# threads.
exec "$(find_qemu)" -L "$sysroot" "$arm_python" -m pytest -q -p no:cacheprovider \
  tests/kernels/test_{lstm_forward,lstm_backward,lengths,step_and_cell,options,storage}.py \
  tests/kernels/test_{layer_norm_lstm,zoneout,projection,second_order,dense,products_dense,bytes,dropout}.py \
  -k 'not test_threads and not test_bits and not test_strict' "$@"
