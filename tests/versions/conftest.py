"""Fixtures of these tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusedlstm.base import versions

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    assert versions.alone()
    versions.settle()
    assert (versions.changing, versions.keeping) == ({}, set())
