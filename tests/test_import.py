"""What `import fusedlstm` loads, and the names that mirror Keras's modules."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fusedlstm


def test_only_numpy_is_imported() -> None:
    code = "import numpy, sys; old = set(sys.modules); import fusedlstm; print(*(set(sys.modules) - old))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    tops = {name.partition(".")[0] for name in result.stdout.split()}
    # NumPy loads its random generators, and with them cython_runtime, only when they are asked for.
    foreign = tops - set(sys.stdlib_module_names) - {"numpy", "cython_runtime"}
    # The start-up hook of an editable installation carries the package's name behind an underscore.
    assert {name for name in foreign if not name.startswith("_")} == {"fusedlstm"}


@pytest.mark.parametrize("name", fusedlstm.__all__)
def test_public_names(name: str) -> None:
    assert getattr(fusedlstm, name) is not None
    assert name in dir(fusedlstm)


@pytest.mark.parametrize(
    "module",
    [
        "activations",
        "backend",
        "callbacks",
        "config",
        "initializers",
        "layers",
        "losses",
        "metrics",
        "models",
        "optimizers",
        "optimizers.schedules",
        "preprocessing",
        "preprocessing.sequence",
        "utils",
    ],
)
def test_modules_of_keras(module: str) -> None:
    imported = importlib.import_module(f"fusedlstm.{module}")
    assert imported.__doc__
    for name in getattr(imported, "__all__", ()):
        assert getattr(imported, name).__doc__, name


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'fusedlstm' has no attribute 'sequential'"):
        fusedlstm.sequential  # noqa: B018


def test_version_is_that_of_the_package() -> None:
    project = Path(__file__).parents[1] / "pyproject.toml"
    found = re.search(r'^version = "(.+)"$', project.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    assert fusedlstm.__version__ == found[1]
