"""What yields batches, for the tests of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm import callbacks, utils

from .common import X, Y, compiled

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 8
N = len(X) // SIZE


class Batches(utils.PyDataset):
    """The batches of X and Y; notes what is called."""

    def __init__(self, calls: list[str] | None = None, count: int = N, **options: Any) -> None:
        super().__init__(**options)
        self.calls, self.count = [] if calls is None else calls, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        self.calls.append(str(index))
        return X[index * SIZE : (index + 1) * SIZE], Y[index * SIZE : (index + 1) * SIZE]

    def on_epoch_begin(self) -> None:
        self.calls.append("<")

    def on_epoch_end(self) -> None:
        self.calls.append(">")


class Again:
    """Yields its batches any number of times, without a length."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


class Recorder(callbacks.Callback):
    """Notes epochs, batches and validations."""

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.calls.append(f"E{epoch}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.calls.append("v" if "val_loss" in logs else "e")

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.calls.append(f"b{batch}")

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.calls.append(f"t{batch}")


def generator(count: int, calls: list[str] | None = None) -> Iterator[Any]:
    for number in range(count):
        if calls is not None:
            calls.append(f"g{number}")
        yield Batches()[number % N]


def fitted(x: Any, y: Any = None, **options: Any) -> Any:
    model = compiled()
    model.history = model.fit(x, y, **{"verbose": 0, "shuffle": False, **options})
    return model
