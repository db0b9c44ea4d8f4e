"""`Trainer`: fit, evaluate, predict."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import checks, devices, versions
from fusedlstm.callbacks import CallbackList, History
from fusedlstm.callbacks.base import Callback, ExpectedLogs
from fusedlstm.models.batching import BatchTrainer, shapes_of_inputs
from fusedlstm.models.one_thread import by_one_thread
from fusedlstm.models.prechecks import Batches, check_stateful, may_reset
from fusedlstm.models.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Sequence

Logs = dict[str, float]


class Trainer(BatchTrainer):
    """What `Sequential` inherits to train and to predict."""

    @by_one_thread
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
        gradient_accumulation_steps: int = 1,
        device: str | None = None,
    ) -> History:
        """Train the model.

        Parameters
        ----------
        x : array_like, shape (N, ...), or list or dict of them
            Inputs of any real dtype, converted to the model's batch by batch and not scaled. For a model on a
            device, NumPy arrays are copied there batch by batch, and arrays on that device are taken as well.
        y : array_like, shape (N, ...), or list or dict of them
            Labels as the losses want them; None for an output that has none.
        batch_size : int, optional
            Samples per update, 32 by default; the last batch of an epoch may be smaller.
        gradient_accumulation_steps : int
            Batches whose gradients are summed for each update: so many times ``batch_size`` samples in the
            memory of ``batch_size``. Loss, gradient, clipping, regularizers, metrics, logs and the calls of
            callbacks are those of one large batch, the last of an epoch smaller: means are over all of its
            samples with their weights, and over all real steps of masks. Sums over samples round in another
            order; dropout, zoneout and noise draw anew for each batch; and ``stateful`` layers go on from
            each batch to the next.
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
        sample_weight : array_like, shape (N,), or list or dict of them, optional
            Factor of each sample's loss; one for all outputs, or one for each.
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
            If an argument is wrong, or a batch of a ``stateful`` layer is not as large as the one before it:
            one of the epoch's end, or of the validation, unless callbacks of your own may reset the states
            between them. Nothing is changed then: weights, optimizer, seeds and states are as they were.
            If gradients are to be summed for a model with masks and activity regularizers, which only its
            first batch shows: weights and optimizer are as they were then.
        RuntimeError
            If the model is not compiled, there is no such device, or another thread trains or evaluates it.
        OSError, ImportError
            If a callback will not be able to write its files; the weights are unchanged then. At the end, and
            with a complete training, if one could not on the way.
        """
        self._move_if(device)
        size = 32 if batch_size is None else checks.positive_int(batch_size, "batch_size")
        last = checks.positive_int(epochs, "epochs")
        first = checks.non_negative_int(initial_epoch, "initial_epoch")
        share = checks.rate(validation_split, "validation_split")
        if not isinstance(shuffle, bool | np.bool_):
            raise TypeError(f"shuffle: expected True or False, got {shuffle!r}")
        grouped = checks.positive_int(gradient_accumulation_steps, "gradient_accumulation_steps")
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
        watchers = self._callbacks(callbacks, verbose, samples, size * grouped, epochs=last)
        passes = [Batches("x", len(samples), size)]
        if held_out is not None:
            passes.append(Batches("validation_data", len(held_out), held_out_size))
        check_stateful(self.layers, passes, resets=may_reset(watchers.callbacks))
        self._build_for(samples.x)
        self._compiled().build(self.trainable_weights)

        logs: Logs = {}
        with watchers:
            watchers.check_before_training(self._expected_logs(held_out is not None, range(first, last)))
            self.stop_training, self.initial_epoch = False, first
            self.history = next(one for one in watchers.callbacks if isinstance(one, History))
            watchers.on_train_begin()
            for epoch in range(self.initial_epoch, last):
                watchers.on_epoch_begin(epoch)
                logs = self._train_epoch(samples, size, grouped, shuffle, watchers)
                if held_out is not None:
                    with versions.reading():
                        tested = self._test(held_out, held_out_size, watchers)
                    logs.update({f"val_{key}": value for key, value in tested.items()})
                watchers.on_epoch_end(epoch, logs)
                if self.stop_training:
                    break
            self._compiled().finalize_variable_values(self.trainable_weights)
            watchers.on_train_end(logs)
        watchers.raise_failure()
        return self.history

    @by_one_thread
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
            If the model is not compiled, there is no such device, or another thread trains or evaluates it.
        """
        self._move_if(device)
        size = 32 if batch_size is None else checks.positive_int(batch_size, "batch_size")
        samples = self._samples(x, y, sample_weight)
        watchers = self._callbacks(callbacks, verbose, samples, size)
        self._check_batches(len(samples), size, watchers)
        self._build_for(samples.x)
        with watchers, versions.reading():
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
    ) -> Any:
        """Compute the output of many samples.

        Parameters
        ----------
        x, batch_size, verbose, callbacks, device
            As in `fit`.

        Returns
        -------
        ndarray, shape (N, ...), or list or dict of them
            The outputs, in an array on the device where x is one; as many as the model has. On the CPU
            they do not depend on ``batch_size``; on a GPU they do not beyond rounding.

        Raises
        ------
        TypeError, ValueError
            If an argument is wrong.
        RuntimeError
            If there is no such device.
        """
        self._move_if(device)
        size = 32 if batch_size is None else checks.positive_int(batch_size, "batch_size")
        samples = Samples(self._checked(x, "x"))
        shapes: Any = self.output_shapes(shapes_of_inputs(samples.x))
        watchers = self._callbacks(callbacks, verbose, samples, size)
        self._check_batches(len(samples), size, watchers)
        self._build_for(samples.x)
        place = devices.place_of(samples.x[0])
        outputs = [place.empty(shape, np.dtype(self.dtype)) for shape in shapes]
        goes_back = isinstance(outputs[0], np.ndarray)
        self.stop_predicting = False
        done = 0
        with watchers, versions.reading():
            watchers.on_predict_begin()
            for number, (batch, _, _) in enumerate(
                samples.batches(size, self._input_types, device=self.place)
            ):
                watchers.on_predict_batch_begin(number)
                part, done = slice(done, done + len(batch[0])), done + len(batch[0])
                for output, y in zip(outputs, self.run(batch).outputs, strict=True):
                    output[part] = devices.to_host(y) if goes_back else y
                shown = self.output_structure.pack([output[part] for output in outputs])
                watchers.on_predict_batch_end(number, {"outputs": shown})
                if self.stop_predicting:
                    break
            watchers.on_predict_end()
        if done < len(samples):
            outputs = [output[:done] for output in outputs]
        return self.output_structure.pack(outputs)

    def _train_epoch(
        self, samples: Samples, size: int, grouped: int, shuffle: bool, watchers: CallbackList
    ) -> Logs:
        order = None
        if shuffle:
            order = np.random.default_rng(self.shuffle_seeds.next()).permutation(len(samples))
        self._reset()
        batches = samples.batches(size, self._input_types, order, self.place)
        for number, start in enumerate(range(0, len(samples), size * grouped)):
            watchers.on_train_batch_begin(number)
            count = min(size * grouped, len(samples) - start)
            self._run_batch(islice(batches, grouped), count, training=True)
            watchers.on_train_batch_end(number, self._logs())
            if self.stop_training:
                break
        return self._logs()

    def _test(self, samples: Samples, size: int, watchers: CallbackList) -> Logs:
        self._reset()
        self.stop_evaluating = False
        watchers.on_test_begin()
        for number, batch in enumerate(samples.batches(size, self._input_types, device=self.place)):
            watchers.on_test_batch_begin(number)
            self._run_batch([batch], len(batch[0][0]), training=False)
            watchers.on_test_batch_end(number, self._logs())
            if self.stop_evaluating:
                break
        logs = self._logs()
        watchers.on_test_end(logs)
        return logs

    def _check_batches(self, samples: int, size: int, watchers: CallbackList) -> None:
        check_stateful(self.layers, [Batches("x", samples, size)], resets=may_reset(watchers.callbacks))

    def _move_if(self, device: str | None) -> None:
        if device is not None:
            self.to(device)

    def _callbacks(
        self, given: Any, verbose: int | str, samples: Samples, size: int, epochs: int | None = None
    ) -> CallbackList:
        if verbose not in ("auto", 0, 1, 2):
            raise ValueError(f"verbose: expected 'auto', 0, 1 or 2, got {verbose!r}")
        params = {"steps": -(-len(samples) // size), "samples": len(samples), "batch_size": size}
        return CallbackList(
            given,
            add_history=epochs is not None,
            add_progbar=verbose != 0,
            model=self,
            epochs=1 if epochs is None else epochs,
            verbose=verbose,
            **params,
        )

    def _expected_logs(self, validated: bool, epochs: range) -> ExpectedLogs:
        trained = tuple(self.metrics_names)
        tested = tuple(f"val_{name}" for name in trained) if validated else ()
        return ExpectedLogs(trained, trained + tested, epochs=epochs)

    def _validation(self, given: Any, samples: Samples) -> Samples:
        if not isinstance(given, tuple | list) or len(given) not in (2, 3):
            raise ValueError(
                f"validation_data: expected (x, y) or (x, y, sample_weight), got {type(given).__name__}"
            )
        x, y, weights = (*given, None)[:3]
        held_out = self._samples(x, y, weights, "validation_data ", samples.x)
        for number, (one, other) in enumerate(zip(samples.x, held_out.x, strict=True)):
            checks.same_scale(one, other, self.input_structure.argument("validation_data x", number))
        return held_out
