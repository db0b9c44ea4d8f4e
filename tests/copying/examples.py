"""An object, or several, of each public class, as it is made and as it is after use."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import (
    callbacks,
    constraints,
    distributed,
    initializers,
    layers,
    losses,
    metrics,
    ops,
    optimizers,
    plots,
    regularizers,
    testing,
)
from fusedlstm.comparison import Finding
from fusedlstm.datasets.mnist import MNIST
from fusedlstm.models.samples import Samples
from fusedlstm.optimizers import schedules
from fusedlstm.utils import PyDataset, SeedGenerator

if TYPE_CHECKING:
    from collections.abc import Callable

B, T, F, H = 3, 4, 2, 5
SHAPE = (B, T, F)


def array(*shape: int, seed: int = 1, dtype: str = "float32") -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def squared(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Return losses and gradients."""
    difference = y_pred - y_true
    return (difference**2).mean(axis=-1), difference * (2 / y_pred.shape[-1])


def distance(y_true: Any, y_pred: Any, power: int) -> Any:
    """Return a metric of each sample."""
    return (abs(y_pred - y_true) ** power).mean(axis=-1)


# ---- examples ----


def model() -> fusedlstm.Sequential:
    """Return one with random streams, states, options that are views of weights, and an optimizer's slots."""
    made = fusedlstm.Sequential(
        [
            layers.Input((T, F)),
            layers.LSTM(H, return_sequences=True, dropout=0.2, use_peepholes=True, layer_norm=True),
            layers.GaussianNoise(0.1),
            layers.Bidirectional(layers.LSTM(H, recurrent_dropout=0.2, zoneout_h=0.1, stateful=True)),
            layers.Dropout(0.3),
            layers.Dense(3, activation="softmax", kernel_regularizer="l2", bias_constraint="non_neg"),
        ]
    )
    schedule = schedules.ExponentialDecay(1e-2, 3, 0.5)
    optimizer = optimizers.Adam(schedule, amsgrad=True, global_clipnorm=1.0)
    made.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


def graph() -> fusedlstm.Model:
    """Return one of a shared layer, a model within, and a merge."""
    x = fusedlstm.Input((T, F))
    shared = layers.LSTM(F, return_sequences=True, dropout=0.2)
    inner = fusedlstm.Sequential([fusedlstm.Input((T, F)), layers.LSTM(F, return_sequences=True)])
    y = layers.LSTM(H)(layers.add([shared(shared(x)), inner(x)]))
    made = fusedlstm.Model(x, layers.Dense(3, activation="softmax")(y))
    made.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


def trained_graph() -> fusedlstm.Model:
    made = graph()
    made.fit(X, Y, epochs=2, batch_size=B, verbose=0)
    return made


X, Y = array(B, T, F), np.arange(B) % 3


def trained() -> fusedlstm.Sequential:
    made = model()
    made.fit(X, Y, epochs=2, batch_size=B, verbose=0)
    return made


def frozen() -> fusedlstm.Sequential:
    """Return one whose first layer keeps a tape that no backward pass takes."""
    made = model()
    made.layers[0].trainable = False
    made.fit(X, Y, batch_size=B, verbose=0)
    return made


def built(make: Callable[[], Any], *shape: int) -> list[Callable[[], Any]]:
    """Return a layer as it is made, built, used, and between forward and backward."""

    def after(*calls: dict[str, bool], backward: bool = False) -> Callable[[], Any]:
        def made() -> Any:
            layer = make()
            for call in calls:
                y = layer(inputs(layer, shape or SHAPE), **call)
            if backward:
                layer.backward(np.ones_like(first(y)))
            return layer

        return made

    return [make, after({}), after({"training": True}, backward=True), after({}, {"training": True})]


def inputs(layer: Any, shape: tuple[int, ...] = SHAPE) -> Any:
    if layer.takes_list:
        return [array(*shape), array(*shape, seed=1)]
    if getattr(layer, "ids", None) is not None:
        return np.arange(B * T).reshape(B, T) % 7
    return array(*shape)


def first(output: Any) -> Any:
    return output[0] if isinstance(output, list) else output


def summed() -> layers.Gradients:
    dense, gradients = layers.Dense(2), layers.Gradients()
    for seed in range(2):
        y, saved = dense.forward(dense.prepare(array(B, F, seed=seed)), training=True)
        dense.backprop(saved, y, gradients)
    return gradients


def stepped(optimizer: Any) -> Any:
    variables = [fusedlstm.Variable(array(3, 2), "a"), fusedlstm.Variable(array(4), "b")]
    optimizer.apply([array(3, 2, seed=2), array(4, seed=2)], variables)
    return optimizer


def stream(storage: str | None = None) -> Any:
    made = fusedlstm.Sequential([layers.Input((None, F)), layers.LSTM(H), layers.Dense(2)])
    result = made.stream(B, storage=storage)
    result.step(array(B, F))
    return result


class Trial:
    """What Optuna's trials have; those hold names and times that differ from one to the next."""

    def __init__(self) -> None:
        self.told: dict[int, float] = {}

    def report(self, value: float, step: int) -> None:
        self.told[step] = value

    def should_prune(self) -> bool:
        return False


def watched(callback: callbacks.Callback) -> callbacks.Callback:
    """Return a callback after a training."""
    model().fit(X, Y, epochs=2, batch_size=B, verbose=0, validation_data=(X, Y), callbacks=[callback])
    return callback


def halve(epoch: int) -> float:
    return 0.5 ** (epoch + 1)


def see(epoch: int, logs: Any) -> None:
    assert logs["loss"] > 0, epoch


def weights(**options: Any) -> ops.LSTMWeights:
    return ops.LSTMWeights(array(F, 4 * H), array(H, 4 * H), array(4 * H), **options)


def projected(**options: Any) -> ops.LSTMWeights:
    return ops.LSTMWeights(array(F, 4 * H), array(2, 4 * H), projection=array(H, 2), **options)


def forward(**options: Any) -> Any:
    return ops.lstm_forward(array(B, T, F), weights(), **options)


def norm() -> ops.LayerNorm:
    return ops.LayerNorm(array(4 * H), array(4 * H), array(H), array(H))


def stack(**options: Any) -> Any:
    return ops.lstm_stack_forward(array(B, T, F), [weights()], **options)


def reference() -> Any:
    return testing.lstm_forward_reference(array(B, T, F), array(F, 4 * H), array(H, 4 * H))


def filled(cls: Any) -> Callable[[], Any]:
    """Return a maker of plain values with arrays in them."""
    return lambda: cls(*[array(2, seed=number) for number in range(len(cls._fields))])


def onnx_model() -> Any:
    pytest.importorskip("onnx")
    from fusedlstm import exchange

    made = fusedlstm.Sequential([layers.Input((T, F)), layers.LSTM(H), layers.Dense(2)])
    with tempfile.TemporaryDirectory() as folder:
        exchange.to_onnx(made, Path(folder) / "a.onnx")
        result = exchange.from_onnx(Path(folder) / "a.onnx")
    result._name = "a.onnx"
    return result


def comparison() -> Any:
    return fusedlstm.compare_data(array(20, T, F), array(20, T, F, seed=2), classifier=False)


def torch_lstm() -> Any:
    torch = pytest.importorskip("torch")
    from fusedlstm.torch import LSTM

    torch.manual_seed(0)
    made = LSTM(F, H, 2, batch_first=True, bidirectional=True)
    made(torch.from_numpy(array(B, T, F)))
    return made


def estimator(name: str) -> Callable[[], Any]:
    def make() -> Any:
        pytest.importorskip("sklearn")
        module = importlib.import_module("fusedlstm.sklearn")
        return getattr(module, name)(units=3, epochs=1, random_state=0).fit(X, Y)

    return make


CELL = {"return_sequences": True, "return_state": True, "stateful": True}
EXAMPLES: dict[str, list[Callable[[], Any]]] = {
    "models.Model": [graph, trained_graph],
    "models.Sequential": [model, trained, frozen, fusedlstm.Sequential],
    "layers.InputLayer": [lambda: layers.InputLayer((T, F))],
    "layers.LSTM": [
        *built(lambda: layers.LSTM(H)),
        *built(lambda: layers.LSTM(H, **CELL, dropout=0.2, recurrent_dropout=0.3, zoneout_c=0.1)),
        *built(lambda: layers.LSTM(H, use_peepholes=True, layer_norm=True, projection_units=2)),
    ],
    "layers.Bidirectional": [
        *built(lambda: layers.Bidirectional(layers.LSTM(H))),
        *built(lambda: layers.Bidirectional(layers.LSTM(H, stateful=True), "mul")),
    ],
    "layers.StackedLSTM": built(lambda: layers.StackedLSTM(H, 2, between_dropout=0.5, stateful=True)),
    "layers.TimeDistributed": built(lambda: layers.TimeDistributed(layers.Dense(2, activation="tanh"))),
    "layers.Dense": built(lambda: layers.Dense(3, activation="relu", kernel_regularizer="l1")),
    "layers.Add": built(layers.Add),
    "layers.Average": built(layers.Average),
    "layers.Concatenate": built(lambda: layers.Concatenate(axis=1)),
    "layers.Dot": built(lambda: layers.Dot((2, 2), normalize=True)),
    "layers.Maximum": built(layers.Maximum),
    "layers.Minimum": built(layers.Minimum),
    "layers.Multiply": built(layers.Multiply),
    "layers.Subtract": built(layers.Subtract),
    "layers.Dropout": built(lambda: layers.Dropout(0.5)),
    "layers.Activation": built(lambda: layers.Activation("tanh")),
    "layers.Masking": built(lambda: layers.Masking(0.5)),
    "layers.Embedding": built(lambda: layers.Embedding(7, 2, mask_zero=True)),
    "layers.GaussianNoise": built(lambda: layers.GaussianNoise(0.5)),
    "layers.SpatialDropout1D": built(lambda: layers.SpatialDropout1D(0.5)),
    "layers.LayerNormalization": built(layers.LayerNormalization),
    "layers.GlobalAveragePooling1D": built(layers.GlobalAveragePooling1D),
    "layers.GlobalMaxPooling1D": built(layers.GlobalMaxPooling1D),
    "layers.Flatten": built(layers.Flatten),
    "layers.Permute": built(lambda: layers.Permute((2, 1))),
    "layers.RepeatVector": built(lambda: layers.RepeatVector(2), B, F),
    "layers.Reshape": built(lambda: layers.Reshape((F, T))),
    "layers.Gradients": [layers.Gradients, summed],
    "config.DTypePolicy": [lambda: fusedlstm.config.DTypePolicy("mixed_bfloat16")],
    "Variable": [
        lambda: fusedlstm.Variable(array(3, 2), "a", "b/a", regularizer=regularizers.L2(), trainable=False),
        lambda: fusedlstm.Variable(array(2, 3).T, constraint=constraints.NonNeg()),
    ],
    "optimizers.SGD": [optimizers.SGD, lambda: stepped(optimizers.SGD(momentum=0.5, clipvalue=1.0))],
    "optimizers.RMSprop": [lambda: stepped(optimizers.RMSprop(centered=True, momentum=0.1))],
    "optimizers.Adam": [
        lambda: optimizers.Adam(schedules.CosineDecay(0.1, 5)),
        lambda: stepped(optimizers.Adam(schedules.CosineDecay(0.1, 5), amsgrad=True)),
    ],
    "optimizers.AdamW": [lambda: stepped(optimizers.AdamW(clipnorm=1.0))],
    "optimizers.Nadam": [lambda: stepped(optimizers.Nadam(use_ema=True, ema_overwrite_frequency=2))],
    "optimizers.Adamax": [lambda: stepped(optimizers.Adamax(use_ema=True))],
    "optimizers.Adagrad": [lambda: stepped(optimizers.Adagrad(initial_accumulator_value=0.5))],
    "optimizers.Adadelta": [lambda: stepped(optimizers.Adadelta())],
    "optimizers.Lion": [lambda: stepped(optimizers.Lion(weight_decay=0.1))],
    "optimizers.schedules.CosineDecay": [
        lambda: schedules.CosineDecay(0.1, 5, warmup_target=1, warmup_steps=2)
    ],
    "optimizers.schedules.CosineDecayRestarts": [lambda: schedules.CosineDecayRestarts(0.1, 3, m_mul=0.5)],
    "optimizers.schedules.InverseTimeDecay": [lambda: schedules.InverseTimeDecay(0.1, 5, 0.5)],
    "optimizers.schedules.PolynomialDecay": [lambda: schedules.PolynomialDecay(0.1, 5, power=2.0)],
    "optimizers.schedules.ExponentialDecay": [lambda: schedules.ExponentialDecay(0.1, 5, 0.5)],
    "optimizers.schedules.PiecewiseConstantDecay": [
        lambda: schedules.PiecewiseConstantDecay([2], [0.1, 0.2])
    ],
    "losses.BinaryCrossentropy": [lambda: losses.BinaryCrossentropy(label_smoothing=0.1)],
    "losses.CTC": [losses.CTC],
    "losses.CategoricalCrossentropy": [lambda: losses.CategoricalCrossentropy(from_logits=True)],
    "losses.SparseCategoricalCrossentropy": [losses.SparseCategoricalCrossentropy],
    "losses.MeanSquaredError": [losses.MeanSquaredError],
    "losses.MeanAbsoluteError": [lambda: losses.MeanAbsoluteError("sum")],
    "losses.MeanAbsolutePercentageError": [losses.MeanAbsolutePercentageError],
    "losses.MeanSquaredLogarithmicError": [losses.MeanSquaredLogarithmicError],
    "losses.Huber": [lambda: losses.Huber(0.5)],
    "losses.LogCosh": [losses.LogCosh],
    "losses.CosineSimilarity": [lambda: losses.CosineSimilarity(1)],
    "losses.KLDivergence": [losses.KLDivergence],
    "losses.Poisson": [losses.Poisson],
    "losses.Hinge": [losses.Hinge],
    "losses.SquaredHinge": [losses.SquaredHinge],
    "losses.CategoricalHinge": [losses.CategoricalHinge],
    "losses.BinaryFocalCrossentropy": [lambda: losses.BinaryFocalCrossentropy(True, 0.3)],
    "losses.CategoricalFocalCrossentropy": [lambda: losses.CategoricalFocalCrossentropy(0.3, 1.5)],
    "losses.LossFunctionWrapper": [lambda: losses.LossFunctionWrapper(squared)],
    "metrics.AUC": [lambda: metrics.AUC(20, "PR"), lambda: metrics.AUC(multi_label=True)],
    "metrics.Accuracy": [metrics.Accuracy],
    "metrics.LabelErrorRate": [metrics.LabelErrorRate],
    "metrics.AutoAccuracy": [metrics.AutoAccuracy],
    "metrics.BinaryAccuracy": [lambda: metrics.BinaryAccuracy(threshold=0.25)],
    "metrics.BinaryCrossentropy": [lambda: metrics.BinaryCrossentropy(label_smoothing=0.1)],
    "metrics.CategoricalAccuracy": [metrics.CategoricalAccuracy],
    "metrics.CategoricalCrossentropy": [metrics.CategoricalCrossentropy],
    "metrics.CategoricalHinge": [metrics.CategoricalHinge],
    "metrics.CosineSimilarity": [metrics.CosineSimilarity],
    "metrics.F1Score": [lambda: metrics.F1Score("macro")],
    "metrics.FBetaScore": [lambda: metrics.FBetaScore(beta=2.0)],
    "metrics.FalseNegatives": [metrics.FalseNegatives],
    "metrics.FalsePositives": [lambda: metrics.FalsePositives([0.25, 0.5])],
    "metrics.Hinge": [metrics.Hinge],
    "metrics.KLDivergence": [metrics.KLDivergence],
    "metrics.LogCoshError": [metrics.LogCoshError],
    "metrics.Mean": [metrics.Mean],
    "metrics.MeanAbsoluteError": [metrics.MeanAbsoluteError],
    "metrics.MeanAbsolutePercentageError": [metrics.MeanAbsolutePercentageError],
    "metrics.MeanMetric": [lambda: metrics.MeanMetric("mse")],
    "metrics.MeanMetricWrapper": [lambda: metrics.MeanMetricWrapper(distance, power=2)],
    "metrics.MeanSquaredError": [metrics.MeanSquaredError],
    "metrics.MeanSquaredLogarithmicError": [metrics.MeanSquaredLogarithmicError],
    "metrics.Poisson": [metrics.Poisson],
    "metrics.Precision": [lambda: metrics.Precision(top_k=1)],
    "metrics.R2Score": [metrics.R2Score],
    "metrics.Recall": [lambda: metrics.Recall(0.25)],
    "metrics.RootMeanSquaredError": [metrics.RootMeanSquaredError],
    "metrics.SparseCategoricalAccuracy": [metrics.SparseCategoricalAccuracy],
    "metrics.SparseCategoricalCrossentropy": [metrics.SparseCategoricalCrossentropy],
    "metrics.SparseTopKCategoricalAccuracy": [lambda: metrics.SparseTopKCategoricalAccuracy(2)],
    "metrics.SquaredHinge": [metrics.SquaredHinge],
    "metrics.Sum": [metrics.Sum],
    "metrics.TopKCategoricalAccuracy": [lambda: metrics.TopKCategoricalAccuracy(1)],
    "metrics.TrueNegatives": [metrics.TrueNegatives],
    "metrics.TruePositives": [metrics.TruePositives],
    **{
        f"{module.__name__.removeprefix('fusedlstm.')}.{name}": [make]
        for module, makers in (
            (
                initializers,
                {
                    "Constant": lambda: initializers.Constant(2.0),
                    "Orthogonal": initializers.Orthogonal,
                    "VarianceScaling": lambda: initializers.VarianceScaling(2.0, "fan_out"),
                    **{
                        name: getattr(initializers, name)
                        for name in (
                            *("GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LecunNormal"),
                            *("LecunUniform", "Ones", "RandomNormal", "RandomUniform", "TruncatedNormal"),
                            "Zeros",
                        )
                    },
                },
            ),
            (
                regularizers,
                {name: getattr(regularizers, name) for name in ("L1", "L1L2", "L2", "OrthogonalRegularizer")},
            ),
            (
                constraints,
                {
                    name: getattr(constraints, name)
                    for name in ("MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm")
                },
            ),
        )
        for name, make in makers.items()
    },
    "callbacks.Callback": [callbacks.Callback, lambda: watched(callbacks.Callback())],
    "callbacks.History": [callbacks.History, lambda: trained().history, lambda: watched(callbacks.History())],
    "callbacks.CallbackList": [
        lambda: watched(callbacks.CallbackList([callbacks.EarlyStopping(), callbacks.History()]))
    ],
    "callbacks.ProgressBar": [lambda: callbacks.ProgressBar(live=False)],
    "callbacks.CSVLogger": [lambda: watched(callbacks.CSVLogger("/dev/null"))],
    "callbacks.EarlyStopping": [
        lambda: watched(callbacks.EarlyStopping(patience=3, restore_best_weights=True))
    ],
    "callbacks.LambdaCallback": [lambda: watched(callbacks.LambdaCallback(on_epoch_end=see))],
    "callbacks.LearningRateScheduler": [lambda: callbacks.LearningRateScheduler(halve)],
    "callbacks.ModelCheckpoint": [lambda: callbacks.ModelCheckpoint("{epoch}.keras", mode="max")],
    "callbacks.OptunaPruning": [lambda: watched(callbacks.OptunaPruning(Trial(), "loss", 2))],
    "callbacks.BackupAndRestore": [lambda: callbacks.BackupAndRestore("backup", 3)],
    "callbacks.ReduceLROnPlateau": [lambda: callbacks.ReduceLROnPlateau("loss", patience=0)],
    "callbacks.TensorBoard": [lambda: callbacks.TensorBoard("logs", update_freq=3)],
    "callbacks.TerminateOnNaN": [lambda: watched(callbacks.TerminateOnNaN())],
    "utils.PyDataset": [lambda: PyDataset(workers=2)],
    "utils.SeedGenerator": [SeedGenerator, lambda: SeedGenerator(3)],
    "models.streaming.Stream": [stream, lambda: stream("int8"), lambda: stream("bfloat16")],
    "ops.LSTMWeights": [
        weights,
        projected,
        *(lambda storage=storage: weights(storage=storage) for storage in ("bfloat16", "int8")),
        *(lambda storage=storage: projected(storage=storage) for storage in ("bfloat16", "int8")),
    ],
    "ops.LayerNorm": [norm],
    "ops.CellOptions": [
        ops.CellOptions,
        lambda: ops.CellOptions(("elu", 0.5), peepholes=array(3, H), layer_norm=norm(), zoneout_h=0.1),
    ],
    "ops.LSTMResult": [forward],
    "ops.LSTMGradients": [lambda: ops.lstm_backward(forward(training=True).tape, array(B, T, H))],
    "ops.LSTMStackResult": [stack],
    "ops.LSTMStackGradients": [lambda: ops.lstm_stack_backward(stack(training=True).tape, array(B, T, H))],
    "ops.LSTMStates": [lambda: ops.lstm_states(forward(training=True).tape)],
    "ops.LSTMTangents": [lambda: ops.lstm_jvp(forward(training=True).tape, x=array(B, T, F))],
    "ops.LSTMSecondGradients": [filled(ops.LSTMSecondGradients)],
    "ops.LayerNormGradients": [filled(ops.LayerNormGradients)],
    "ops.CTCDecoded": [filled(ops.CTCDecoded)],
    "ops.CTCResult": [filled(ops.CTCResult)],
    "ops.NGramScorer": [lambda: ops.NGramScorer({(1,): -0.5, (1, 2): -0.25}, {(1,): -0.1})],
    "plots.Saturation": [filled(plots.Saturation)],
    "plots.StateGradients": [filled(plots.StateGradients)],
    "testing.CTCReference": [filled(testing.CTCReference)],
    "testing.LSTMReference": [reference],
    "testing.LSTMReferenceGradients": [filled(testing.LSTMReferenceGradients)],
    "testing.LSTMSecondReference": [filled(testing.LSTMSecondReference)],
    "testing.LSTMStatesReference": [filled(testing.LSTMStatesReference)],
    "testing.GradientCheck": [filled(testing.GradientCheck)],
    "FallbackError": [lambda: fusedlstm.FallbackError("why")],
    "models.samples.Samples": [lambda: Samples([X], [Y])],
    "datasets.MNIST": [filled(MNIST)],
    "comparison.Comparison": [comparison],
    "distributed.Alone": [distributed.Alone],
    "comparison.Finding": [
        lambda: Finding("shift", "warning", "x: feature 0 is 3 higher in test", "x", "feature 0", None, 0.9)
    ],
    "exchange.OnnxModel": [onnx_model],
    "torch.LSTM": [torch_lstm],
    "sklearn.LSTMClassifier": [estimator("LSTMClassifier")],
    "sklearn.LSTMRegressor": [estimator("LSTMRegressor")],
}

# Tapes, and why they refuse.
REFUSED: dict[str, list[Callable[[], Any]]] = {
    "ops.Tape": [lambda: forward(training=True).tape, lambda: forward(training=True)],
    "ops.GradientTape": [
        lambda: ops.lstm_backward(forward(training=True).tape, array(B, T, H), keep=True).tape
    ],
    "KerasTensor": [lambda: fusedlstm.Input((T, F)), lambda: [layers.LSTM(H)(fusedlstm.Input((T, F)))]],
    "ops.StackTape": [lambda: stack(training=True).tape],
    "distributed.MPICommunicator": [lambda: object.__new__(distributed.MPICommunicator)],
    "distributed.NCCLCommunicator": [lambda: object.__new__(distributed.NCCLCommunicator)],
}

# Classes without objects of their own. A subclass of each is tried in `test_classes_of_other_origin`.
BASES = {
    "models.training.Intake",
    "constraints.Constraint",
    "distributed.Communicator",
    "distributed.Pending",
    "models.streaming.Copied",
    "initializers.Initializer",
    "layers.ActivatedLayer",
    "layers.Layer",
    "layers.Merge",
    "losses.Loss",
    "metrics.Metric",
    "optimizers.Optimizer",
    "optimizers.schedules.LearningRateSchedule",
    "regularizers.Regularizer",
    "models.training.Trainer",
}
