"""`Trainer`: fit, evaluate, predict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import checks, devices, versions
from fusedlstm.batching import BatchTrainer
from fusedlstm.callbacks import Callback, CallbackList, History, ProgressBar
from fusedlstm.data import Samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.variable import Array

Logs = dict[str, float]


class Trainer(BatchTrainer):
    """What `Sequential` inherits to train and to predict."""

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Sequence[Callback] | Callback | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        *,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        validation_batch_size: int | None = None,
        device: str | None = None,
    ) -> History:
        """Train the model.

        Parameters
        ----------
        x : array_like, shape (N, ...)
            Inputs of any real dtype, converted to the model's batch by batch and not scaled. For a model on a
            device, NumPy arrays are copied there batch by batch, and arrays on that device are taken as well.
        y : array_like, shape (N, ...)
            Labels as the loss wants them.
        batch_size : int, optional
            Samples per update, 32 by default; the last batch of an epoch may be smaller.
        epochs : int
            Number of the epoch to stop at.
        verbose : {"auto", 0, 1, 2}
            0 silent; 2 a line per epoch; 1 and "auto" a live bar where there is a terminal.
        callbacks : list of Callback, optional
            Called as `fusedlstm.callbacks.Callback` says.
        validation_split : float
            Share of the samples, from the end, that is kept for validation.
        validation_data : tuple, optional
            ``(x, y)`` or ``(x, y, sample_weight)`` to evaluate after each epoch.
        shuffle : bool
            Whether each epoch has another order, drawn from `fusedlstm.utils.set_random_seed`'s generator.
        sample_weight : array_like, shape (N,), optional
            Factor of each sample's loss.
        initial_epoch : int
            Number of the epoch to start at, when a training is resumed.
        validation_batch_size : int, optional
            Samples per batch of the validation; ``batch_size`` by default.
        device : {"cpu", "cuda", "auto"}, optional
            Move the model there first, as `to` does; it stays there. By default it is used where it is.

        Returns
        -------
        History
            Its ``history`` holds a list per loss and metric with an entry per epoch: means over the samples
            of the training pass, and of the validation with the prefix ``val_``.

        Raises
        ------
        TypeError, ValueError
            If an argument is wrong; the weights are unchanged then.
        RuntimeError
            If the model is not compiled, or there is no such device.
        """
        self._move_if(device)
        size = 32 if batch_size is None else checks.positive_int(batch_size, "batch_size")
        last = checks.positive_int(epochs, "epochs")
        first = checks.non_negative_int(initial_epoch, "initial_epoch")
        share = checks.rate(validation_split, "validation_split")
        samples = self._samples(x, y, sample_weight)
        held_out = None
        if validation_data is not None:
            held_out = self._validation(validation_data, samples)
        elif share:
            samples, held_out = samples.split(share)
        held_out_size = (
            size
            if validation_batch_size is None
            else checks.positive_int(validation_batch_size, "validation_batch_size")
        )
        optimizer = self._compiled()[0]
        optimizer.build(self.trainable_weights)

        self.stop_training = False
        self.history = History()
        steps = -(-len(samples) // size)
        params = {"epochs": last, "steps": steps, "samples": len(samples), "batch_size": size}
        watchers = self._callbacks(callbacks, verbose, params, self.history)
        with watchers:
            watchers.on_train_begin()
            for epoch in range(first, last):
                watchers.on_epoch_begin(epoch)
                logs = self._train_epoch(samples, size, shuffle, watchers)
                if held_out is not None:
                    with versions.reading():
                        tested = self._test(held_out, held_out_size, watchers)
                    logs.update({f"val_{key}": value for key, value in tested.items()})
                watchers.on_epoch_end(epoch, logs)
                if self.stop_training:
                    break
            watchers.on_train_end()
        return self.history

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        *,
        sample_weight: Any = None,
        callbacks: Sequence[Callback] | Callback | None = None,
        return_dict: bool = False,
        device: str | None = None,
    ) -> Any:
        """Compute loss and metrics without training.

        Parameters
        ----------
        x, y, batch_size, verbose, sample_weight, callbacks, device
            As in `fit`.
        return_dict : bool
            Whether a dict is returned.

        Returns
        -------
        float or list of float or dict
            The loss; with metrics ``[loss, *metrics]`` in the order of ``metrics_names``.

        Raises
        ------
        TypeError, ValueError
            If an argument is wrong.
        RuntimeError
            If the model is not compiled, or there is no such device.
        """
        self._move_if(device)
        size = 32 if batch_size is None else checks.positive_int(batch_size, "batch_size")
        samples = self._samples(x, y, sample_weight)
        params = {"steps": -(-len(samples) // size), "samples": len(samples), "batch_size": size}
        with self._callbacks(callbacks, verbose, params) as watchers, versions.reading():
            logs = self._test(samples, size, watchers)
        return self._results(logs, return_dict)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        *,
        callbacks: Sequence[Callback] | Callback | None = None,
        device: str | None = None,
    ) -> Array:
        """Compute the output of many samples.

        Parameters
        ----------
        x, batch_size, verbose, callbacks, device
            As in `fit`.

        Returns
        -------
        ndarray, shape (N, ...)
            The outputs, in an array on the device where x is one. On the CPU they do not depend on
            ``batch_size``; on a GPU they do not beyond rounding.

        Raises
        ------
        TypeError, ValueError
            If an argument is wrong.
        RuntimeError
            If there is no such device.
        """
        self._move_if(device)
        size = 32 if batch_size is None else checks.positive_int(batch_size, "batch_size")
        samples = Samples(self._inputs(x, "x"))
        shape: Any = self.compute_output_shape(samples.x.shape)
        output = devices.empty(shape, self.dtype, devices.place_of(samples.x))
        goes_back = isinstance(output, np.ndarray)
        params = {"steps": -(-len(samples) // size), "samples": len(samples), "batch_size": size}
        with self._callbacks(callbacks, verbose, params) as watchers, versions.reading():
            watchers.on_predict_begin()
            for number, (batch, _, _) in enumerate(
                samples.batches(size, self._input_type, device=self.place)
            ):
                watchers.on_predict_batch_begin(number)
                y = self._forward(batch)
                output[number * size : number * size + len(batch)] = devices.to_host(y) if goes_back else y
                watchers.on_predict_batch_end(number)
            watchers.on_predict_end()
        result: Array = output
        return result

    def _train_epoch(self, samples: Samples, size: int, shuffle: bool, watchers: CallbackList) -> Logs:
        order = None
        if shuffle:
            order = np.random.default_rng(self.shuffle_seeds.next()).permutation(len(samples))
        self._reset()
        for number, (x, y, weights) in enumerate(samples.batches(size, self._input_type, order, self.place)):
            watchers.on_train_batch_begin(number)
            self._run_batch(x, y, weights, training=True)
            watchers.on_train_batch_end(number, self._logs())
            if self.stop_training:
                break
        return self._logs()

    def _test(self, samples: Samples, size: int, watchers: CallbackList) -> Logs:
        self._reset()
        watchers.on_test_begin()
        for number, (x, y, weights) in enumerate(samples.batches(size, self._input_type, device=self.place)):
            watchers.on_test_batch_begin(number)
            self._run_batch(x, y, weights, training=False)
            watchers.on_test_batch_end(number, self._logs())
        logs = self._logs()
        watchers.on_test_end(logs)
        return logs

    def _move_if(self, device: str | None) -> None:
        if device is not None:
            self.to(device)

    def _callbacks(
        self, given: Any, verbose: int | str, params: dict[str, Any], *extra: Callback
    ) -> CallbackList:
        if verbose not in ("auto", 0, 1, 2):
            raise ValueError(f"verbose: expected 'auto', 0, 1 or 2, got {verbose!r}")
        chosen = [] if given is None else [given] if isinstance(given, Callback) else list(given)
        display = [ProgressBar(live=verbose in ("auto", 1))] if verbose else []
        return CallbackList([*chosen, *display, *extra], self, {**params, "verbose": verbose})

    def _validation(self, given: Any, samples: Samples) -> Samples:
        if not isinstance(given, tuple | list) or len(given) not in (2, 3):
            raise ValueError(
                f"validation_data: expected (x, y) or (x, y, sample_weight), got {type(given).__name__}"
            )
        x, y, weights = (*given, None)[:3]
        held_out = self._samples(x, y, weights, "validation_data ")
        checks.same_scale(samples.x, held_out.x, "validation_data x")
        return held_out
