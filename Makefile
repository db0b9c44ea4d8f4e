# Each target works on a fresh clone: it makes .venv and installs what it needs.
#
#   make mnist [EPOCHS=3] [DATA=folder] [ARGS="--seed 1"]   train the MNIST model and print its accuracy
#   make test  [ARGS="-k lstm"]                             the whole test suite
#   make test-simt [ARGS="-x"]                              CUDA kernels on a simulated GPU; a part of make test
#   make lint                                               formatting, ruff, mypy, through pre-commit
#   make bench [ARGS="--quick"] [PEERS="torch tensorflow-cpu"]   verify and time the kernels on this machine, against
#              ONNX Runtime, Keras on JAX and, since they are large, only when named, PyTorch and TensorFlow
#   make warnings | sanitize | test-neon | clean       what CI runs besides

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# What `make warnings` compiles with. CMAKE_ARGS in the environment reaches every other build, pip's included.
COMPILERS ?= g++ clang++
SOURCES := pyproject.toml CMakeLists.txt README.md $(shell find csrc python -type f -not -name '*.so' -not -path '*__pycache__*')
SIMT_SOURCES := CMakeLists.txt $(shell find csrc/simt csrc/cuda tests/simt -type f -not -name '*.py' -not -path '*__pycache__*') $(wildcard csrc/*.h)

mnist: $(VENV)/installed-mnist
	$(BIN)/fusedlstm mnist $(if $(EPOCHS),--epochs $(EPOCHS)) $(if $(DATA),--data "$(DATA)") $(ARGS)

test: $(VENV)/installed-test build/simt/built
	$(BIN)/python -m pytest $(ARGS)

test-simt: $(VENV)/installed-test build/simt/built
	$(BIN)/python -m pytest tests/simt $(ARGS)

# The extension modules of the simulated GPU: tests find them in build/simt.
build/simt/built: $(SIMT_SOURCES) | $(VENV)/installed-dev
	$(BIN)/cmake -S . -B build/simt -G Ninja -DCMAKE_BUILD_TYPE=Release -DFUSEDLSTM_SIMT=ON $(CMAKE_ARGS) \
	  -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DPython_EXECUTABLE=$(abspath $(BIN))/python \
	  -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)" >/dev/null
	$(BIN)/cmake --build build/simt --target simt
	@touch $@

lint: $(VENV)/installed-dev
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pre-commit run --all-files --show-diff-on-failure

bench: $(VENV)/installed-bench
	$(if $(PEERS),$(PIP_INSTALL) $(PEERS))
	$(BIN)/fusedlstm bench $(ARGS)

# Every compiler that is here, warnings as errors.
warnings: $(VENV)/installed-dev
	@set -e; for cxx in $(COMPILERS); do command -v $$cxx >/dev/null || { echo "$$cxx: not here, skipped"; continue; }; \
	  $(BIN)/cmake -S . -B build/warnings-$$cxx -G Ninja -DCMAKE_BUILD_TYPE=Release -DFUSEDLSTM_WERROR=ON -DFUSEDLSTM_SIMT=ON \
	    -DCMAKE_CXX_COMPILER=$$cxx -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DPython_EXECUTABLE=$(abspath $(BIN))/python \
	    -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)" >/dev/null; \
	  $(BIN)/cmake --build build/warnings-$$cxx; done

sanitize: $(VENV)/installed-dev
	PATH="$(abspath $(BIN)):$$PATH" tests/sanitize.sh

test-neon:
	tests/cross/neon.sh

clean:
	rm -rf build dist $(VENV)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The package is built once per change of its sources; an extra then only adds what it needs.
$(VENV)/installed: $(SOURCES) | $(BIN)/python
	$(PIP_INSTALL) .
	@touch $@

$(VENV)/installed-%: $(VENV)/installed
	$(PIP_INSTALL) "fusedlstm[$*]"
	@touch $@

.PRECIOUS: $(VENV)/installed-%
.PHONY: mnist test test-simt lint bench warnings sanitize test-neon clean
.DELETE_ON_ERROR:
