"""What the tests of bfloat16 products share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from fusedlstm import ops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .problems import Array, Problem

PRODUCT_SETS = ops.product_sets()


@pytest.fixture(params=PRODUCT_SETS)
def product_set(request: pytest.FixtureRequest) -> Iterator[str]:
    ops.set_product_set(request.param)
    yield request.param
    ops.set_product_set(None)


def packed(p: Problem) -> ops.LSTMWeights:
    return ops.LSTMWeights(*p.weights, compute="bfloat16")


def rounded(array: Array) -> Array:
    """Round to 8 significant bits, ties to even, by arithmetic that the kernels do not use."""
    mantissa, exponent = np.frexp(array.astype(np.float64))
    return np.ldexp(np.round(mantissa * 256) / 256, exponent)
