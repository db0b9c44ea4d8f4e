"""What every test of the benchmark leaves as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusedlstm import config, ops

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    """Undo what contenders set: threads, instruction set, and the number type of layers made later."""
    before = ops.get_num_threads(), ops.get_instruction_set()
    yield
    ops.set_num_threads(before[0])
    ops.set_instruction_set(before[1])
    config.set_floatx("float32")
