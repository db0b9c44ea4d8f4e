"""Keras on JAX as a contender: the LSTM layer as a pure function, compiled by ``jax.jit``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from fusedlstm.benchmark.job import Job
from fusedlstm.benchmark.peers import versions
from fusedlstm.benchmark.peers.keras_model import make_layer, prepare_mnist

if TYPE_CHECKING:
    from fusedlstm.benchmark.workloads import Array, Workload

# On JAX, train_on_batch copies the model's whole state to and fro in each call, which fit does once.
_FIT_STEPS = 16


class KerasJax:
    """JAX takes its number of threads from the cores that its process may run on."""

    def version(self) -> str:
        """Return the versions of Keras and JAX."""
        return versions(("keras", "jax"))

    def prepare(self, workload: Workload, arrays: dict[str, Array]) -> Job:
        """Make the job; see `Contender`."""
        if workload.kind == "mnist":
            return prepare_mnist(arrays, _FIT_STEPS)
        layer = make_layer(workload, arrays)
        variables = [variable.value for variable in layer.trainable_variables]
        fixed = [variable.value for variable in layer.non_trainable_variables]
        x = jax.device_put(arrays["x"])

        def outputs(variables: Any, x: Any) -> Any:
            return layer.stateless_call(variables, fixed, x)[0]

        if workload.kind == "forward":
            forward = jax.jit(outputs)

            def run_forward() -> Any:
                return jax.block_until_ready(forward(variables, x))

            return Job(
                run_forward, lambda: dict(zip(("y", "h", "c"), map(np.array, run_forward()), strict=True))
            )
        dy = jax.device_put(arrays["dy"])

        def gradients(variables: Any, x: Any, dy: Any) -> Any:
            _, pull = jax.vjp(lambda variables, x: outputs(variables, x)[0], variables, x)
            return pull(dy)

        compiled = jax.jit(gradients)

        def run_training() -> Any:
            return jax.block_until_ready(compiled(variables, x, dy))

        def check() -> dict[str, Array]:
            (dkernel, drecurrent, dbias), dx = run_training()
            named = {"dx": dx, "dkernel": dkernel, "drecurrent_kernel": drecurrent, "dbias": dbias}
            return {name: np.array(array) for name, array in named.items()}

        return Job(run_training, check)
