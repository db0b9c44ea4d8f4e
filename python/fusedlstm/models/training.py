"""`Trainer`: fit, evaluate, predict."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import checks, devices, versions
from fusedlstm.callbacks import CallbackList, History
from fusedlstm.callbacks.base import Callback, ExpectedLogs
from fusedlstm.models import resuming
from fusedlstm.models.agreeing import agreed, check_same, random_digest
from fusedlstm.models.feeding import yields_batches
from fusedlstm.models.intake import Intake, due, optional_size, refuse_beside
from fusedlstm.models.leading import Leader, all_or_none
from fusedlstm.models.one_thread import by_one_thread
from fusedlstm.models.outputs import Outputs
from fusedlstm.models.samples import Samples
from fusedlstm.models.weighting import ClassWeight, check_class_weight

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.models.feeding import Feed
    from fusedlstm.models.sharing import Group

Logs = dict[str, float]


class Trainer(Intake):
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
        class_weight: ClassWeight | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
        *,
        gradient_accumulation_steps: int = 1,
        device: str | None = None,
        distribute: Any = None,
    ) -> History:
        """Train the model.

        Parameters
        ----------
        x : array_like, shape (N, ...), or list or dict of them, or what yields batches
            Inputs of any real dtype, converted to the model's batch by batch and not scaled. For a model on a
            device, NumPy arrays are copied there batch by batch, and arrays on that device are taken as well.
            A `fusedlstm.utils.PyDataset`, a generator or anything else that can be iterated over and is no
            array, such as a ``DataLoader`` of PyTorch, yields batches ``(x, y)`` or ``(x, y,
            sample_weight)`` of any size. The first one is checked before any work, each other one when it
            comes: an error names it by its number in the pass, counted from 0, and it changes nothing.
        y : array_like, shape (N, ...), or list or dict of them
            Labels as the losses want them; None for an output that has none, or if x yields batches.
        batch_size : int, optional
            Samples per update, 32 by default or, with ``steps_per_epoch``, as many as make an epoch a pass;
            the last batch of a pass may be smaller. What yields batches makes them as it likes.
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
            ``(x, y)`` or ``(x, y, sample_weight)`` to evaluate after each epoch, or what yields such batches.
            Arrays in other units than ``x``, as 0..255 against 0..1, are a `fusedlstm.ScaleWarning`, except
            for ids of an `Embedding` and integers beside integers.
        shuffle : bool
            Whether each pass has another order, of samples or of a `PyDataset`'s batches, drawn from
            `fusedlstm.utils.set_random_seed`'s generator. Others that yield batches keep their order.
        class_weight : dict of int to float, optional
            Factors of the losses by classes, which labels name or mark as one-hot rows; 1 for those that are
            not in it. For a model with one output, without ``sample_weight``; validations go without.
        sample_weight : array_like, shape (N,), or list or dict of them, optional
            Factor of each sample's loss; one for all outputs, or one for each.
        initial_epoch : int
            Number of the epoch to start at, when a training is resumed.
        steps_per_epoch : int, optional
            Updates of an epoch; the next one goes on where it ended. By default an epoch is a pass over the
            data, which a generator without an end never is. A pass that ends first ends its epoch, with a
            warning; so does the training when a generator has nothing left for an epoch or its validation.
        validation_steps : int, optional
            Batches of a validation. It begins anew each time, but a generator goes on.
        validation_batch_size : int, optional
            Samples per batch of the validation; ``batch_size`` by default.
        validation_freq : int or list of int
            After which epochs there is a validation: every so many, or those in the list, counted from 1.
        device : {"cpu", "cuda", "auto"}, optional
            Move the model there first, as `to` does; it stays there. By default it is used where it is.
        distribute : {"mpi", "nccl"} or Communicator, optional
            Share all runs of the model with other ranks from now on, as `distribute` does, with the options
            that it has. Then ``batch_size`` is that of all ranks together; callbacks run on rank 0 and decide
            for all; and an error after the first step ends all of them.

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
        if distribute is not None:
            self.distribute(distribute)
        group = self.group
        with agreed(group, "fit"):
            self._move_if(device)
            last = checks.positive_int(epochs, "epochs")
            first = checks.non_negative_int(initial_epoch, "initial_epoch")
            share = checks.rate(validation_split, "validation_split")
            if not isinstance(shuffle, bool | np.bool_):
                raise TypeError(f"shuffle: expected True or False, got {shuffle!r}")
            grouped = checks.positive_int(gradient_accumulation_steps, "gradient_accumulation_steps")
            size = optional_size(batch_size, "batch_size")
            held_out_size = optional_size(validation_batch_size, "validation_batch_size") or size
            steps = optional_size(steps_per_epoch, "steps_per_epoch")
            held_out_steps = optional_size(validation_steps, "validation_steps")
            is_due = due(validation_freq)
            weights = check_class_weight(class_weight, sample_weight)
            seeds = self.shuffle_seeds if shuffle else None
            held_out: Feed | None = None
            if yields_batches(x):
                split = share if share and validation_data is None else None
                refuse_beside(x, y=y, sample_weight=sample_weight, validation_split=split)
                feed = self._batch_feed(x, "x", steps, grouped, seeds, class_weight=weights)
            else:
                samples = self._samples(x, y, sample_weight, class_weight=weights)
                if share and validation_data is None:
                    samples, rest = samples.split(share)
                    # Classes weigh in the training only.
                    rest = rest if weights is None else replace(rest, weights=[None])
                    held_out = self._array_feed(rest, held_out_size, held_out_steps)
                feed = self._array_feed(samples, size, steps, grouped, seeds)
            if validation_data is not None:
                held_out = self._validation_feed(validation_data, feed, held_out_size, held_out_steps)
            watchers = self._callbacks(callbacks, verbose, feed, epochs=last)
            passes = [("x", feed), *([] if held_out is None else [("validation_data", held_out)])]
            validated = held_out is not None and any(is_due(epoch + 1) for epoch in range(first, last))
            self._check_passes(watchers, *passes, training=True)
            self._build_for(feed.samples.x)
            self._compiled().build(self.trainable_weights)
        if group is not None:
            # What yields batches may draw from the generators of all.
            drawn = random_digest() if yields_batches(x) else None
            check_same(group, self, feed, held_out, epochs=[first, last], random=drawn)

        with watchers:
            with agreed(group, "fit"):
                watchers.check_before_training(self._expected_logs(validated, range(first, last)))
                self.stop_training, self.initial_epoch = False, first
                self.history = next(one for one in watchers.callbacks if isinstance(one, History))
                feed.restart()
                run = resuming.Training(self, feed, held_out, watchers.callbacks, first)
                watchers.restore(run)
            leader = Leader(group, self, watchers.callbacks)
            found = leader.tell(run.found)
            with agreed(group, "fit"):
                if found is not run.found:
                    run.follow(found)
            with closing(leader), all_or_none(group):
                self.initial_epoch = run.epoch
                with leader.decides():
                    watchers.on_train_begin()
                if not run.step:
                    run.epoch = self.initial_epoch
                    run.put_back()
                while run.epoch < last and not run.ended:
                    epoch = run.epoch
                    tests = held_out if is_due(epoch + 1) else None
                    if not run.step and (not feed.ready() or not (tests is None or tests.ready())):
                        break
                    with leader.decides():
                        watchers.on_epoch_begin(epoch)
                    if run.step:
                        run.put_back()
                    logs = self._train_epoch(feed, watchers, run, leader)
                    if tests is not None:
                        with run.validating():
                            with leader.decides():
                                watchers.at_rest(run)
                            with versions.reading():
                                tested = self._test(tests, watchers, leader)
                        logs.update({f"val_{key}": value for key, value in tested.items()})
                    with leader.decides():
                        watchers.on_epoch_end(epoch, logs)
                    run.end_epoch(logs)
                    with leader.decides():
                        watchers.at_rest(run)
                self._compiled().finalize_variable_values(self.trainable_weights)
                with leader.decides():
                    watchers.on_train_end(run.logs)
                    run.complete = True
                    watchers.at_rest(run)
                self.history.set_state(leader.tell(self.history.get_state()))
        watchers.raise_failure()
        return self.history

    @by_one_thread
    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Sequence[Callback] | Callback | None = None,
        return_dict: bool = False,
        *,
        device: str | None = None,
    ) -> Any:
        """Compute loss and metrics without training.

        Parameters
        ----------
        x, y, batch_size, verbose, sample_weight, callbacks, device
            As in `fit`.
        steps : int, optional
            Batches to take; all by default.
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
        group = self.group
        with agreed(group, "evaluate"):
            self._move_if(device)
            limit = optional_size(steps, "steps")
            feed = self._test_feed(x, y, sample_weight, optional_size(batch_size, "batch_size"), limit)
            watchers = self._callbacks(callbacks, verbose, feed)
            self._check_passes(watchers, ("x", feed))
            self._build_for(feed.samples.x)
        if group is not None:
            check_same(group, self, feed, None)
        with watchers, all_or_none(group), versions.reading():
            logs = self._test(feed, watchers, Leader(group, self, watchers.callbacks))
        return self._results(logs, return_dict)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Sequence[Callback] | Callback | None = None,
        *,
        device: str | None = None,
    ) -> Any:
        """Compute the output of many samples.

        Parameters
        ----------
        x, batch_size, verbose, callbacks, device
            As in `fit`; of batches ``(x, y)``, x alone is used.
        steps : int, optional
            Batches to take; all by default.

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
        group = self.group
        with agreed(group, "predict"):
            self._move_if(device)
            limit, size = optional_size(steps, "steps"), optional_size(batch_size, "batch_size")
            if yields_batches(x):
                feed = self._batch_feed(x, "x", limit, labelled=False)
            else:
                samples = Samples(self._checked(x, "x"))
                self._output_shapes_for(samples.x)
                feed = self._array_feed(samples, size, limit)
            watchers = self._callbacks(callbacks, verbose, feed)
            self._check_passes(watchers, ("x", feed), measured=False)
            self._build_for(feed.samples.x)
        if group is not None:
            return self._predict_together(group, feed, watchers)
        goes_back = isinstance(feed.samples.x[0], np.ndarray)
        gathered = Outputs(feed.params["samples"])
        self.stop_predicting = False
        with watchers, versions.reading():
            watchers.on_predict_begin()
            for number, (batches, _) in enumerate(feed.epoch()):
                watchers.on_predict_batch_begin(number)
                ((batch, _, _),) = batches
                outputs = self.run(batch).outputs
                if goes_back and self.place is not devices.CPU:
                    outputs = [devices.to_host(y) for y in outputs]
                gathered.add(outputs, number)
                if watchers.callbacks:
                    shown = self.output_structure.pack(gathered.last())
                    watchers.on_predict_batch_end(number, {"outputs": shown})
                if self.stop_predicting:
                    break
            watchers.on_predict_end()
        return self.output_structure.pack(gathered.all())

    def _predict_together(self, group: Group, feed: Feed, watchers: CallbackList) -> Any:
        """Compute each rank's rows of all batches, and return those of all ranks on each."""
        check_same(group, self, feed, None)
        leader = Leader(group, self, watchers.callbacks)
        goes_back = isinstance(feed.samples.x[0], np.ndarray)
        shown = Outputs(None) if leader.of_batches else None
        self.stop_predicting = False
        parts: list[list[Any]] = []
        with watchers, all_or_none(group), versions.reading():
            watchers.on_predict_begin()
            for number, (rows, count) in enumerate(feed.epoch()):
                with leader.after_batch():
                    watchers.on_predict_batch_begin(number)
                own: list[Any] = []
                for batch, _, _ in rows.take(group.own_rows(count)):
                    own = [devices.to_host(y) for y in self.run(batch).outputs]
                parts.append(own)
                if shown is not None:
                    shown.add(_joined(group.communicator.allgather([parts.pop()]))[0], number)
                with leader.after_batch():
                    outputs = None if shown is None else self.output_structure.pack(shown.last())
                    watchers.on_predict_batch_end(number, {} if outputs is None else {"outputs": outputs})
                if self.stop_predicting:
                    break
            watchers.on_predict_end()
            if shown is None:
                shown = Outputs(None)
                for number, found in enumerate(_joined(group.communicator.allgather(parts))):
                    shown.add(found, number)
        whole = shown.all()
        return self.output_structure.pack(whole if goes_back else [self.place.put(y) for y in whole])

    def _train_epoch(
        self, feed: Feed, watchers: CallbackList, run: resuming.Training, leader: Leader
    ) -> Logs:
        done = run.step
        if not done:
            self._reset()
        elif self.stop_training:  # The step before the interruption was the last one.
            return self._logs()
        for number, (batches, count) in enumerate(feed.epoch(done), done):
            with leader.after_batch():
                watchers.on_train_batch_begin(number)
            self._run_batch(batches, count, training=True)
            with leader.after_batch():
                watchers.on_train_batch_end(number, self._logs())
                run.step = number + 1
                watchers.at_rest(run)
            if self.stop_training:
                break
        return self._logs()

    def _test(self, feed: Feed, watchers: CallbackList, leader: Leader) -> Logs:
        feed.restart()
        self._reset()
        self.stop_evaluating = False
        watchers.on_test_begin()
        for number, (batches, count) in enumerate(feed.epoch()):
            with leader.after_batch():
                watchers.on_test_batch_begin(number)
            self._run_batch(batches, count, training=False)
            with leader.after_batch():
                watchers.on_test_batch_end(number, self._logs())
            if self.stop_evaluating:
                break
        logs = self._logs()
        watchers.on_test_end(logs)
        return logs

    def _move_if(self, device: str | None) -> None:
        if device is not None:
            self.to(device)

    def _callbacks(
        self, given: Any, verbose: int | str, feed: Feed, epochs: int | None = None
    ) -> CallbackList:
        if verbose not in ("auto", 0, 1, 2):
            raise ValueError(f"verbose: expected 'auto', 0, 1 or 2, got {verbose!r}")
        if self.group is not None and self.group.rank:
            given, verbose = None, 0
        return CallbackList(
            given,
            add_history=epochs is not None,
            add_progbar=verbose != 0,
            model=self,
            epochs=1 if epochs is None else epochs,
            verbose=verbose,
            **feed.params,
        )

    def _expected_logs(self, validated: bool, epochs: range) -> ExpectedLogs:
        trained = tuple(self.metrics_names)
        tested = tuple(f"val_{name}" for name in trained) if validated else ()
        return ExpectedLogs(trained, trained + tested, epochs=epochs)


def _joined(found: list[list[list[Any]]]) -> list[list[Any]]:
    """Return the outputs of batches, of which each rank has rows."""
    return [
        [np.concatenate(some) for some in zip(*filter(None, parts), strict=True)]
        for parts in zip(*found, strict=True)
    ]
