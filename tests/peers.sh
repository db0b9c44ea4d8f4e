#!/usr/bin/env bash
# The tests that compare with other libraries, which `make test` leaves out where these are not installed:
#   tests/peers.sh [torch] [onnx] [sklearn] [keras]     all by default
# Each group installs what it needs into the Python that PYTHON names; where that cannot be had, it says so and goes on.
# ARGS are pytest's.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
export KERAS_BACKEND=jax
read -ra options <<<"${ARGS:-}"

# compare "title" "requirements" tests...
compare() {
  printf '\n== %s (%s)\n' "$1" "$(date +%T)"
  read -ra requirements <<<"$2"
  if "$python" -m pip install --quiet --disable-pip-version-check "${requirements[@]}"; then
    "$python" -m pytest -q "${@:3}" "${options[@]}"
  else
    echo "$2 could not be installed here: these tests did not run"
  fi
}
torch() {
  compare "PyTorch: fusedlstm.torch and the exchange of weights" torch==2.13.0 \
    tests/torch tests/exchange/test_torch.py tests/exchange/test_torch_quantized.py \
    tests/simulated_gpu/test_torch.py tests/test_stack.py tests/test_strict.py tests/models/test_feeding.py
}
onnx() {
  compare "ONNX Runtime: the exchange of graphs" "onnxruntime torch==2.13.0 onnxscript" tests/exchange/onnx
}
sklearn() {
  compare "scikit-learn: its checks of the estimators, copies of them" "scikit-learn>=1.6" \
    tests/test_sklearn.py tests/test_loading.py tests/versions tests/copying/test_public.py
}
keras() {
  # Last, so that all examples of the documentation find what they import.
  compare "Keras: models trained and exchanged; examples of the documentation" "keras==3.15.1 jax==0.10.2 grain" \
    tests/exchange/keras tests/test_loading.py tests/test_docs.py
}

groups=("$@")
[ "$#" -gt 0 ] || groups=(torch onnx sklearn keras)
for group in "${groups[@]}"; do
  case "$group" in
    torch | onnx | sklearn | keras) "$group" ;;
    *) echo "peers: expected torch, onnx, sklearn or keras, got $group" >&2; exit 2 ;;
  esac
done
