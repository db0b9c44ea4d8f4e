"""The check that a loader refuses a file, soon and at no cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.fuzz.case import MEMORY, SECONDS, Peak, least_seconds

if TYPE_CHECKING:
    from collections.abc import Callable


def refused(load: Callable[..., object], message: str, *arguments: Any) -> None:
    """Check that a loader refuses its arguments, soon and at no cost."""

    def try_it() -> None:
        with pytest.raises(ValueError, match=message):
            load(*arguments)

    peak = Peak()
    assert least_seconds(try_it) < SECONDS
    assert peak.grown() < MEMORY
