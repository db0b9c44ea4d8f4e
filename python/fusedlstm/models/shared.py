"""`Shared`: a model whose batches several ranks may share."""

from __future__ import annotations

from typing import Any, ClassVar

from fusedlstm import distributed
from fusedlstm.models.compiled import Compiled
from fusedlstm.models.sharing import Group


class Shared(Compiled):
    """What a model inherits to be shared out."""

    fresh: ClassVar[tuple[str, ...]] = ("group",)

    # The ranks that share its batches.
    group: Group | None = None

    def distribute(
        self,
        communicator: Any,
        *,
        mode: str = "exact",
        shards: int = 8,
        transport: str = "float32",
    ) -> None:
        """Share `fit`, `evaluate`, `predict` and single batches with other ranks from now on.

        All ranks run the same program and make the same calls. Each reads and computes its rows of every
        batch; gradients, losses and metrics are those of the whole, on all ranks, and so are the outputs of
        `predict`. Callbacks run on rank 0, and what they change is changed on all ranks. Copies of the model,
        and loaded ones, are not shared.

        Parameters
        ----------
        communicator : {"mpi", "nccl"}, Communicator, mpi4py.MPI.Comm or None
            The ranks; see `fusedlstm.distributed.get`. None ends it.
        mode : {"exact", "fast"}
            ``exact`` cuts each batch into ``shards``, whatever the number of ranks, and sums their gradients
            in one order: weights have the same bits on any number of ranks, `fusedlstm.distributed.Alone`
            among them. ``fast`` computes a rank's rows at once and lets the library sum: the same bits for
            the same number of ranks, as far as the library promises them.
        shards : int
            A power of two, at least the number of ranks. Other numbers have other bits.
        transport : {"float32", "bfloat16"}
            What gradients of float32 are rounded to when they are sent. Sums are float32; weights have the
            same bits for the same number of ranks then.

        Raises
        ------
        TypeError, ValueError
            If an argument is wrong.
        ImportError, RuntimeError
            If the library is missing, or another one has started the processes.
        """
        if communicator is None:
            self.group = None
            return
        if transport == "bfloat16" and self.dtype != "float32":
            raise ValueError(f"transport: expected float32 for a model of {self.dtype}, got {transport!r}")
        self.group = Group(distributed.get(communicator), mode, shards, transport)
