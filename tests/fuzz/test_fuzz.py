"""A small part of ``python -m tests.fuzz``: the same cases on every run."""

from __future__ import annotations

import pytest

from tests.fuzz.__main__ import fuzz
from tests.fuzz.targets import TARGETS

pytest.importorskip("h5py")
pytest.importorskip("onnx")


@pytest.mark.parametrize("name", TARGETS)
def test_changed_inputs_are_refused_or_read(name: str) -> None:
    report = fuzz(name, count=300)
    assert report.done == 300
    # Some changes are harmless; if all were refused, nothing behind the first check would be tried.
    assert report.loaded > 0
    assert not report.faults, "\n".join(
        f"python -m tests.fuzz {name} --case {fault['case']}: {fault['fault']}" for fault in report.faults
    )


def test_a_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness sees wrong exceptions, memory and time: a check that cannot fail is none."""
    from pathlib import Path

    from tests.fuzz import case
    from tests.fuzz.targets import Target

    def wrong(content: object, path: Path) -> object:
        del path
        return {"key": content}["other"]

    def large(content: object, path: Path) -> object:
        del content, path
        return bytearray(case.MEMORY + (1 << 20))

    def target(load: object) -> Target:
        return Target(lambda: [b""], {}, load)  # type: ignore[arg-type]

    assert case.run(target(wrong), b"", Path("x")).fault.startswith("KeyError")
    if Path("/proc/self/clear_refs").exists():
        assert case.run(target(large), b"", Path("x")).fault.endswith(" MB")
    monkeypatch.setattr(case, "SECONDS", -1.0)
    assert case.run(target(lambda content, path: None), b"", Path("x")).fault.endswith(" seconds")  # noqa: ARG005
