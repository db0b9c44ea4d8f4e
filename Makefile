# Each target works on a fresh clone: it makes .venv and installs what it needs.
#
#   make mnist [EPOCHS=3] [DATA=folder] [ARGS="--seed 1"]   train the MNIST model and print its accuracy
#   make test  [ARGS="-k lstm"]                             the whole test suite
#   make test-peers [PEERS="torch onnx sklearn keras"]      the tests that need other libraries, which it installs
#   make test-simt [ARGS="-x"]                              CUDA kernels on a simulated GPU; a part of make test
#   make kernels [ISA=avx2] [NUMBER=float] [TESTS=tests/kernels/test_lengths.py]   one instruction set and type of numbers
#              for work on kernels: seconds to a minute after a change. PYTHONPATH=python sees it, and TESTS run on it
#   make fuzz  [SECONDS=600] [ARGS="onnx --first 1000000"]  change files at random and load them; a part of make test
#   make lint                                               formatting, ruff, mypy, through pre-commit
#   make bench [ARGS="--quick"] [PEERS="torch tensorflow-cpu"]   verify and time the kernels on this machine, against
#              ONNX Runtime, Keras on JAX and, since they are large, only when named, PyTorch and TensorFlow
#   make cuda                                          every CUDA kernel for every architecture into build/cuda, warnings
#              as errors, and a table of their resources, which make test then checks; needs nvcc
#   make warnings | sanitize | test-neon | clean       what CI runs besides
#
# CUDA=AUTO, the default, compiles the CUDA kernels into .venv's package for the GPUs that are here, where there is an nvcc
# too; CUDA=ON insists, and without a GPU takes all architectures; CUDA=OFF saves the minutes.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Without --quiet: what takes minutes says what it is doing; --verbose below shows each file that is compiled.
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check
CUDA ?= AUTO
# What `make warnings` compiles with. CMAKE_ARGS in the environment reaches every other build, pip's included.
COMPILERS ?= g++ clang++
SOURCES := pyproject.toml CMakeLists.txt README.md $(shell find csrc python -type f -not -name '*.so' -not -path '*__pycache__*')
SIMT_SOURCES := CMakeLists.txt $(shell find csrc/simt csrc/cuda tests/simulated_gpu -type f -not -name '*.py' -not -path '*__pycache__*') $(wildcard csrc/*.h)
# Arguments of CMake for a build of its own, beside those that it is called with.
CMAKE_BUILD := -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja \
  -DPython_EXECUTABLE=$(abspath $(BIN))/python -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)"

mnist: $(VENV)/installed-mnist
	$(BIN)/fusedlstm mnist $(if $(EPOCHS),--epochs $(EPOCHS)) $(if $(DATA),--data "$(DATA)") $(ARGS)

test: $(VENV)/installed-test build/simt/built build/cpp/built
	$(BIN)/python -m pytest $(ARGS)

test-simt: $(VENV)/installed-test build/simt/built
	$(BIN)/python -m pytest tests/simulated_gpu tests/kernels -k "simt or simulated" $(ARGS)

test-peers: $(VENV)/installed-test
	PYTHON=$(BIN)/python ARGS="$(ARGS)" tests/peers.sh $(PEERS)

# The linker does not optimize here, and all other kernels are left out: `fusedlstm info` tells what is there.
ISA ?= avx2
NUMBER ?= float
kernels: | $(VENV)/kernel-tools
	$(BIN)/cmake -S . -B build/kernels-$(ISA)-$(NUMBER) $(CMAKE_BUILD) -DFUSEDLSTM_KERNELS=$(ISA)/$(NUMBER) -DFUSEDLSTM_CUDA=OFF \
	  -DCMAKE_INTERPROCEDURAL_OPTIMIZATION=OFF $(CMAKE_ARGS) >/dev/null
	$(BIN)/cmake --build build/kernels-$(ISA)-$(NUMBER) --target _core
	cp build/kernels-$(ISA)-$(NUMBER)/_core.*.so python/fusedlstm/
	PYTHONPATH=python $(BIN)/python -c "from fusedlstm import _core; print(*_core.instruction_sets(), _core.number_types)"
	$(if $(TESTS),PYTHONPATH=python $(BIN)/python -m pytest -q $(TESTS) $(ARGS))

# Cases are numbered: FIRST is another part of them each day.
SECONDS ?= 600
FIRST ?= $(shell date +%Y%m%d)000000
fuzz: $(VENV)/installed-test
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) --first $(FIRST) $(ARGS)

# The extension modules of the simulated GPU: tests find them in build/simt.
build/simt/built: $(SIMT_SOURCES) | $(VENV)/installed-dev
	$(BIN)/cmake -S . -B build/simt $(CMAKE_BUILD) -DFUSEDLSTM_SIMT=ON -DFUSEDLSTM_CUDA=OFF $(CMAKE_ARGS) >/dev/null
	$(BIN)/cmake --build build/simt --target simt
	@touch $@

# A program in C++ that needs no Python, and the kernels of one instruction set, for a debugger: tests find it in build/cpp.
build/cpp/built: CMakeLists.txt $(shell find csrc/cpu csrc/math tests/cpp -type f -not -name '*.py' -not -path '*__pycache__*') $(wildcard csrc/*.h) \
  | $(VENV)/installed-dev
	$(BIN)/cmake -S . -B build/cpp $(CMAKE_BUILD) -DCMAKE_BUILD_TYPE=Debug -DFUSEDLSTM_CPP=ON -DFUSEDLSTM_KERNELS=scalar/float \
	  -DFUSEDLSTM_CUDA=OFF $(CMAKE_ARGS) >/dev/null
	$(BIN)/cmake --build build/cpp --target train_sequence
	@touch $@

cuda: build/cuda/resources.json
	$(BIN)/python bench/cuda_resources.py build/cuda/resources.json

# The compiler's report of every kernel's resources; beside it, the module.
build/cuda/resources.json: bench/cuda_resources.py $(SIMT_SOURCES) | $(VENV)/installed-dev $(VENV)/installed-cuda-tools
	@mkdir -p build
	$(BIN)/cmake -S . -B build/cuda $(CMAKE_BUILD) -DFUSEDLSTM_CUDA=ON -DFUSEDLSTM_CUDA_ARCHITECTURES=all \
	  -DFUSEDLSTM_CUDA_REPORT=ON -DFUSEDLSTM_WERROR=ON >build/cuda.log
	@grep "CUDA kernels: compiled" build/cuda.log
	$(BIN)/cmake --build build/cuda --target cuda
	$(BIN)/python bench/cuda_resources.py --collect build/cuda $@

lint: $(VENV)/installed-dev
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pre-commit run --all-files --show-diff-on-failure

bench: $(VENV)/installed-bench
	$(if $(PEERS),$(PIP_INSTALL) $(PEERS))
	$(BIN)/fusedlstm bench $(ARGS)

# Every compiler that is here, warnings as errors. Clang's come before it generates code, which takes most of the time;
# those of g++ need its optimizer.
warnings: $(VENV)/installed-dev
	@set -e; for cxx in $(COMPILERS); do command -v $$cxx >/dev/null || { echo "$$cxx: not here, skipped"; continue; }; \
	  dir=build/warnings-$$cxx; case "$$cxx" in *clang*) launcher='sh;-c;exec "$$@" -fsyntax-only;sh';; *) launcher=;; esac; \
	  $(BIN)/cmake -S . -B $$dir $(CMAKE_BUILD) -DCMAKE_CXX_COMPILER_LAUNCHER="$$launcher" -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON \
	    -DFUSEDLSTM_WERROR=ON -DFUSEDLSTM_SIMT=ON -DFUSEDLSTM_CUDA=OFF -DCMAKE_CXX_COMPILER=$$cxx >/dev/null; \
	  $(BIN)/ninja -C $$dir $$($(BIN)/ninja -C $$dir -t targets all | sed -n 's/\.o: .*/.o/p'); done

sanitize: $(VENV)/installed-dev
	PATH="$(abspath $(BIN)):$$PATH" tests/sanitize.sh

test-neon:
	tests/cross/neon.sh

clean:
	rm -rf build dist $(VENV)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The package itself is not among them, since its installation would compile everything.
$(VENV)/kernel-tools: | $(BIN)/python
	$(PIP_INSTALL) cmake hypothesis ninja numpy pybind11 pytest
	@touch $@

# Another choice builds the package again.
$(VENV)/chosen-cuda-$(CUDA): | $(BIN)/python
	@rm -f $(VENV)/chosen-cuda-*
	@touch $@

# The package is built once per change of its sources; an extra then only adds what it needs.
$(VENV)/installed: $(SOURCES) $(VENV)/chosen-cuda-$(CUDA) | $(BIN)/python
	@echo "Compiling fusedlstm takes some 3 minutes of one core; with CUDA kernels 2 more, and 1 for each architecture."
	$(PIP_INSTALL) "numpy>=1.24"
	CMAKE_ARGS="$(CMAKE_ARGS) -DFUSEDLSTM_CUDA=$(CUDA)" $(PIP_INSTALL) --verbose --no-deps .
	@touch $@

$(VENV)/installed-%: $(VENV)/installed
	$(PIP_INSTALL) "fusedlstm[$*]"
	@touch $@

.PRECIOUS: $(VENV)/installed-%
.PHONY: mnist test test-peers test-simt kernels fuzz cuda lint bench warnings sanitize test-neon clean
.DELETE_ON_ERROR:
