"""The check that a loader refuses a file, soon and at no cost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.fuzz.case import MEMORY, Peak

if TYPE_CHECKING:
    from collections.abc import Callable


def refused(load: Callable[..., object], message: str, *arguments: Any) -> None:
    """Check that a loader refuses its arguments, soon and at no cost."""
    peak, start = Peak(), time.process_time()
    with pytest.raises(ValueError, match=message):
        load(*arguments)
    assert time.process_time() - start < 1
    assert peak.grown() < MEMORY
