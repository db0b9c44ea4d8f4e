"""A training that was interrupted after any step gets the bits of one that was not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fusedlstm import callbacks

from .resumed import CASES, everything, run

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("safetensors")


class Cut(callbacks.Callback):
    """Ends a training after a number of steps, counted in all of its processes."""

    def __init__(self, last: int) -> None:
        self.left = last

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("power cut")


class CutInValidation(callbacks.Callback):
    """Ends a training in its first validation, and once."""

    done = False

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        if not self.done:
            self.done = True
            raise RuntimeError("power cut")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("every", [1, "epoch"])
@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_from_any_step(name: str, every: int | str, tmp_path: Path) -> None:
    straight = everything(run(name, tmp_path / "straight"))
    lost = 0
    while True:
        backup = callbacks.BackupAndRestore(tmp_path / "backup", every, background=False)
        cut = Cut(6 if every == "epoch" else 3)
        try:
            # Processes after the first begin with other weights and random numbers.
            found = everything(run(name, tmp_path / "resumed", backup, cut, seed=lost))
            break
        except RuntimeError:
            lost += 1
    assert lost >= 1
    assert {key: value for key, value in found.items() if value != straight[key]} == {}
    assert found.keys() == straight.keys()
    assert files(tmp_path / "resumed") == files(tmp_path / "straight")
    assert not (tmp_path / "backup").exists()


@pytest.mark.parametrize(
    "name", ["arrays", "callbacks", "dataset", "generator", "loader", "validation at times"]
)
def test_the_same_bits_from_a_validation(name: str, tmp_path: Path) -> None:
    straight = everything(run(name, tmp_path / "straight"))
    backup = callbacks.BackupAndRestore(tmp_path / "backup", 1, background=False)
    cut = CutInValidation()
    with pytest.raises(RuntimeError, match="power cut"):
        run(name, tmp_path / "resumed", backup, cut)
    steps = Cut(1000)
    assert everything(run(name, tmp_path / "resumed", backup, cut, steps, seed=7)) == straight
    assert 0 < 1000 - steps.left < 14
    assert files(tmp_path / "resumed") == files(tmp_path / "straight")
