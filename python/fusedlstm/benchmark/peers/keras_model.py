"""What the Keras contenders share: the backend differs in how a function is compiled, not in the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from fusedlstm.benchmark.job import Job, mnist_model

if TYPE_CHECKING:
    from fusedlstm.benchmark.workloads import Array, Workload


def make_layer(workload: Workload, arrays: dict[str, Array]) -> Any:
    """Return a built ``keras.layers.LSTM`` that returns sequences and states, with the workload's weights."""
    layer = keras.layers.LSTM(workload.H, return_sequences=True, return_state=True)
    layer.build((workload.B, workload.T, workload.I))
    layer.set_weights([arrays["kernel"], arrays["recurrent_kernel"], arrays["bias"]])
    return layer


def prepare_mnist(arrays: dict[str, Array], fit_steps: int | None = None) -> Job:
    """Make the job of the MNIST model's training step.

    Parameters
    ----------
    arrays
        As `fusedlstm.benchmark.workloads.make_arrays` makes them.
    fit_steps
        Number of steps of a ``fit`` whose mean is to be timed; None times single calls of ``train_on_batch``.
        Each backend gets what is faster for it.
    """
    x, labels = arrays["x"], arrays["labels"]

    def check() -> dict[str, Array]:
        model = mnist_model(keras, arrays, 0.0)
        losses = [float(model.train_on_batch(x, labels)[0])]
        weights = [np.array(weight) for weight in model.get_weights()]
        # The reported loss is a running mean, which starts again only with a new epoch.
        model.reset_metrics()
        for _ in range(2):
            losses.append(float(model.train_on_batch(x, labels)[0]))
            model.reset_metrics()
        return {"losses": np.array(losses), **{f"w{i}": array for i, array in enumerate(weights)}}

    model = mnist_model(keras, arrays, 0.2)

    def one_batch() -> Any:
        return model.train_on_batch(x, labels)

    if fit_steps is None:
        return Job(one_batch, check)
    all_x, all_labels = np.concatenate([x] * fit_steps), np.concatenate([labels] * fit_steps)

    def fit() -> Any:
        return model.fit(all_x, all_labels, batch_size=len(x), shuffle=False, verbose=0)

    return Job(fit, check, fit_steps, one_batch)
