"""Keras, for tests that compare with it."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def keras() -> Iterator[Any]:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    # The optimization of programs that run once on a few numbers took 30 of 103 seconds.
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of Keras and of its backend
        yield pytest.importorskip("keras")
