"""Keras on TensorFlow as a contender: the LSTM layer inside ``tf.function``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from fusedlstm.benchmark.job import Job
from fusedlstm.benchmark.peers.keras_model import make_layer, prepare_mnist

if TYPE_CHECKING:
    from fusedlstm.benchmark.workloads import Array, Workload


class KerasTensorflow:
    """Both of TensorFlow's thread pools get the number of threads."""

    def __init__(self, threads: int, dtype: str) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        keras.config.set_floatx(dtype)

    def version(self) -> str:
        """Return the versions of Keras and TensorFlow."""
        return f"keras {keras.__version__}, tensorflow {tf.__version__}"

    def prepare(self, workload: Workload, arrays: dict[str, Array]) -> Job:
        """Make the job; see `Contender`."""
        if workload.kind == "mnist":
            return prepare_mnist(arrays)
        layer = make_layer(workload, arrays)
        x = tf.constant(arrays["x"])
        if workload.kind == "forward":
            forward = tf.function(layer)

            def check_forward() -> dict[str, Array]:
                return {k: v.numpy() for k, v in zip(("y", "h", "c"), forward(x), strict=True)}

            return Job(lambda: forward(x), check_forward)
        dy = tf.constant(arrays["dy"])
        variables = [variable.value for variable in layer.trainable_variables]

        def gradients(x: Any, dy: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x)[0]
            return tape.gradient(y, [x, *variables], dy)

        compiled = tf.function(gradients)

        def check() -> dict[str, Array]:
            names = ("dx", "dkernel", "drecurrent_kernel", "dbias")
            return {k: v.numpy() for k, v in zip(names, compiled(x, dy), strict=True)}

        return Job(lambda: compiled(x, dy), check)
