"""Layers that merge several inputs into one output, and functions that make and call them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fusedlstm.base import checks
from fusedlstm.layers.base import Layer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.base.gradients import Gradients
    from fusedlstm.base.types import Array, Mask, Shape


class Merge(Layer):
    """Base of layers that take a list of inputs."""

    takes_list: ClassVar[bool] = True

    # Whether values at masked steps take no part: then `forward` takes ``mask``, one for each input or None.
    leaves_out: ClassVar[bool] = False

    # How many inputs there are at least, and at most; None for any number.
    fewest: int = 2
    most: int | None = None

    def forward(self, x: Sequence[Array], training: bool = False) -> tuple[Array, Any]:  # type: ignore[override]
        """Compute the output of checked inputs; see `Layer.forward`."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def merge(self, x: Sequence[Array], masks: Sequence[Mask | None], training: bool = False) -> Any:
        """Compute the output of checked inputs with the masks that travel with them; see `Layer.forward`."""
        if self.leaves_out and any(one is not None for one in masks):
            options: dict[str, Any] = {"mask": masks}
            return self.forward(x, training, **options)
        return self.forward(x, training)

    def backprop(  # type: ignore[override]
        self, saved: Any, dy: Array, gradients: Gradients, need_dx: bool = True
    ) -> list[Array] | None:
        """Return the gradients of all inputs; see `Layer.backprop`."""
        del gradients
        return self.slopes(saved, dy) if need_dx else None

    def slopes(self, saved: Any, dy: Array) -> list[Array]:
        """Return the gradients of all inputs."""
        raise NotImplementedError(f"{type(self).__name__} must define slopes")

    def prepare(self, x: Any) -> Any:
        """Check and convert a list of inputs."""
        if not isinstance(x, list | tuple):
            raise TypeError(f"x: expected a list of inputs for {self.name}, got {type(x).__name__}")
        arrays: list[Array] = [
            self.bring(checks.numeric(one, "x").astype(self.dtype, copy=False), "x") for one in x
        ]
        shapes: Any = [array.shape for array in arrays]
        self.compute_output_shape(shapes)
        self.built = True
        return arrays

    def check_shapes(self, shapes: Any) -> list[Shape]:
        """Return the shapes of a list of inputs; `ValueError` if it is none, too short or too long."""
        listed = isinstance(shapes, list | tuple) and all(isinstance(one, list | tuple) for one in shapes)
        count = len(shapes) if listed else 1
        if count < self.fewest or (self.most is not None and count > self.most):
            wanted = f"{self.fewest}" if self.fewest == self.most else f"at least {self.fewest}"
            raise ValueError(f"x: expected a list of {wanted} inputs for {self.name}, got {count}")
        batches = {shape[0] for shape in shapes if shape} - {None}
        if any(not shape for shape in shapes) or len(batches) > 1:
            raise ValueError(f"x: expected the same number of samples for {self.name}, got {list(shapes)}")
        return [tuple(shape) for shape in shapes]

    def compute_mask(self, x: Any, mask: Any) -> Mask | None:  # noqa: ARG002
        """Return where any input's step is real, as Keras does; None if an input has no mask.

        Raises
        ------
        ValueError
            If the masks do not meet.
        """
        masks: list[Any] = [None] if mask is None else list(mask)
        if any(one is None for one in masks):
            return None
        try:
            result: Any = masks[0]
            for one in masks[1:]:
                result = result | one
        except ValueError as error:
            raise ValueError(
                f"mask: expected masks that meet for {self.name}, got shapes {[one.shape for one in masks]}"
            ) from error
        return result  # type: ignore[no-any-return]


class _Elementwise(Merge):
    """Base of merges of numbers at the same place; axes of length 1, and missing ones, are repeated."""

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Return the shape that all inputs have or are repeated to; see `Layer.compute_output_shape`."""
        shapes = self.check_shapes(input_shape)
        axes = max(map(len, shapes))
        padded = [(shape[0], *(1,) * (axes - len(shape)), *shape[1:]) for shape in shapes]
        result: list[int | None] = []
        for sizes in zip(*padded, strict=True):
            known = {size for size in sizes if size is not None} - {1}
            if len(known) > 1:
                raise ValueError(f"x: expected shapes that meet for {self.name}, got {shapes}")
            one = all(size == 1 for size in sizes)
            result.append(1 if one else known.pop() if known else None)
        return tuple(result)

    def aligned(self, x: Sequence[Array]) -> list[Array]:
        """Return inputs with as many axes each, the missing ones after the batch."""
        axes = max(one.ndim for one in x)
        return [
            one if one.ndim == axes else one.reshape(len(one), *(1,) * (axes - one.ndim), *one.shape[1:])
            for one in x
        ]

    def real_places(self, x: Sequence[Array], masks: Sequence[Mask | None] | None) -> list[Mask | None]:
        """Return masks that meet the aligned inputs; None for inputs whose steps are all real."""
        axes = max(one.ndim for one in x)
        found: list[Mask | None] = []
        for one, mask in zip(x, [None] * len(x) if masks is None else masks, strict=True):
            if mask is not None and mask.shape != one.shape[: mask.ndim]:
                raise ValueError(
                    f"mask: expected one that fits its input for {self.name}, "
                    f"got shape {mask.shape} for {one.shape}"
                )
            shape = () if mask is None else (*mask.shape[1:], *(1,) * (one.ndim - mask.ndim))
            found.append(None if mask is None else mask.reshape(len(mask), *(1,) * (axes - one.ndim), *shape))
        return found


def _summed(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Return the gradient of an input of a shape that was repeated."""
    if gradient.shape == shape:
        return gradient
    full = (shape[0], *(1,) * (gradient.ndim - len(shape)), *shape[1:])
    axes = tuple(axis for axis in range(gradient.ndim) if full[axis] == 1 != gradient.shape[axis])
    total: Array = gradient.sum(axis=axes, keepdims=True)
    return total.reshape(shape)


def _where(real: Mask | None, gradient: Array) -> Array:
    """Return a gradient that is zero at masked steps."""
    return gradient if real is None else np.where(real, gradient, gradient.dtype.type(0))


class Add(_Elementwise):
    """Sum of all inputs."""

    def forward(self, x: Sequence[Array], training: bool = False) -> tuple[Array, Any]:  # type: ignore[override]  # noqa: ARG002
        """Return the sum; see `Layer.forward`."""
        first, *others = self.aligned(x)
        y = first
        for one in others:
            y = y + one
        return y, [one.shape for one in x]

    def slopes(self, saved: Any, dy: Array) -> list[Array]:
        """Return the output's gradient for each input."""
        return [_summed(dy, shape) for shape in saved]


class Subtract(_Elementwise):
    """Difference of two inputs."""

    most = 2

    def forward(self, x: Sequence[Array], training: bool = False) -> tuple[Array, Any]:  # type: ignore[override]  # noqa: ARG002
        """Return the difference; see `Layer.forward`."""
        one, two = self.aligned(x)
        return one - two, [each.shape for each in x]

    def slopes(self, saved: Any, dy: Array) -> list[Array]:
        """Return the output's gradient, and its negative."""
        return [_summed(dy, saved[0]), _summed(-dy, saved[1])]


class Average(Add):
    """Mean of all inputs."""

    def forward(self, x: Sequence[Array], training: bool = False) -> tuple[Array, Any]:  # type: ignore[override]
        """Return the mean; see `Layer.forward`."""
        y, saved = super().forward(x, training)
        return y / y.dtype.type(len(x)), saved

    def slopes(self, saved: Any, dy: Array) -> list[Array]:
        """Return each input's share of the output's gradient."""
        return super().slopes(saved, dy / dy.dtype.type(len(saved)))


class Multiply(_Elementwise):
    """Product of all inputs.

    As in Keras, a masked step of an input counts as ones, and what is masked in all of them becomes zeros.
    """

    leaves_out = True

    def forward(  # type: ignore[override]
        self,
        x: Sequence[Array],
        training: bool = False,  # noqa: ARG002
        mask: Sequence[Mask | None] | None = None,
    ) -> tuple[Array, Any]:
        """Return the product; see `Layer.forward`."""
        real = self.real_places(x, mask)
        factors = [
            one if kept is None else np.where(kept, one, one.dtype.type(1))
            for one, kept in zip(self.aligned(x), real, strict=True)
        ]
        y = factors[0]
        for one in factors[1:]:
            y = y * one
        left: Any = real[0]
        for kept in real[1:]:
            left = None if left is None or kept is None else left | kept
        if left is not None:
            y = np.where(left, y, y.dtype.type(0))
        return y, (factors, [one.shape for one in x], real, left)

    def slopes(self, saved: Any, dy: Array) -> list[Array]:
        """Return the output's gradient times the product of all other inputs, for each."""
        factors, shapes, real, left = saved
        # Products of those before and of those after, as a division would fail at zeros.
        before = [_where(left, dy)]
        for one in factors[:-1]:
            before.append(before[-1] * one)
        found, after = [], None
        for number in range(len(factors) - 1, -1, -1):
            slope = before[number] if after is None else before[number] * after
            found.append(_summed(_where(real[number], slope), shapes[number]))
            after = factors[number] if after is None else after * factors[number]
        return found[::-1]


class _Extreme(_Elementwise):
    """Base of maximum and minimum, two by two from the left."""

    leaves_out = True

    def chosen(self, one: Array, two: Array) -> Array:
        """Return the larger or the smaller of two."""
        raise NotImplementedError

    def forward(  # type: ignore[override]
        self,
        x: Sequence[Array],
        training: bool = False,  # noqa: ARG002
        mask: Sequence[Mask | None] | None = None,
    ) -> tuple[Array, Any]:
        """Return the extreme; see `Layer.forward`."""
        first, *others = self.aligned(x)
        before, *more = self.real_places(x, mask)
        results: list[Array] = [first]
        # For each of the others where it and the result before it take part; None for everywhere.
        parts: list[tuple[Mask | None, Mask | None]] = []
        for one, real in zip(others, more, strict=True):
            y = self.chosen(results[-1], one)
            if before is not None:
                alone = ~before if real is None else real & ~before
                y = np.where(alone, one, y)
            if real is not None:
                y = np.where(real, y, results[-1])
            parts.append((before, real))
            before = None if before is None or real is None else before | real
            results.append(y)
        return results[-1], (list(x), results, parts)

    def slopes(self, saved: Any, dy: Array) -> list[Array]:
        """Return the output's gradient where an input is it, half of it for each of two equal ones."""
        x, results, parts = saved
        inputs, found = self.aligned(x), []
        for number in range(len(inputs) - 1, 0, -1):
            one, two, y = results[number - 1], inputs[number], results[number]
            # NaN is equal to nothing, and gets no gradient.
            is_one, is_two = (one == y).astype(dy.dtype), (two == y).astype(dy.dtype)
            of_one, of_two = is_one * (1 - 0.5 * is_two), is_two * (1 - 0.5 * is_one)
            before, real = parts[number - 1]
            if before is not None:
                alone = ~before if real is None else real & ~before
                of_one, of_two = (
                    np.where(alone, dy.dtype.type(0), of_one),
                    np.where(alone, dy.dtype.type(1), of_two),
                )
            if real is not None:
                of_one, of_two = (
                    np.where(real, of_one, dy.dtype.type(1)),
                    np.where(real, of_two, dy.dtype.type(0)),
                )
            found.append(_summed(dy * of_two, x[number].shape))
            dy = dy * of_one
        return [_summed(dy, x[0].shape), *found[::-1]]


class Maximum(_Extreme):
    """Largest of all inputs, place by place; as in Keras, masked steps of an input are left out."""

    def chosen(self, one: Array, two: Array) -> Array:
        """Return the larger of two."""
        y: Array = np.maximum(one, two)
        return y


class Minimum(_Extreme):
    """Smallest of all inputs, place by place; as in Keras, masked steps of an input are left out."""

    def chosen(self, one: Array, two: Array) -> Array:
        """Return the smaller of two."""
        y: Array = np.minimum(one, two)
        return y


class Concatenate(Merge):
    """All inputs one after the other along an axis.

    Parameters
    ----------
    axis : int
        The axis, which may count from the end; not that of the batch.
    **kwargs
        As in `Layer`.
    """

    fewest = 1

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        self.axis = checks.integer(axis, "axis")
        super().__init__(**kwargs)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Return the shape of all inputs together; see `Layer.compute_output_shape`."""
        shapes = self.check_shapes(input_shape)
        axes = len(shapes[0])
        axis = self.axis % axes if -axes <= self.axis < axes else 0
        if axis == 0:
            raise ValueError(f"axis: expected one of the {axes - 1} after the batch, got {self.axis}")
        for number in range(axes):
            sizes = {shape[number] if len(shape) == axes else -1 for shape in shapes} - {None}
            if number != axis and (len(sizes) > 1 or -1 in sizes):
                raise ValueError(
                    f"x: expected shapes that differ in axis {axis} only for {self.name}, got {shapes}"
                )
        lengths = [shape[axis] for shape in shapes]
        result = [
            next((shape[number] for shape in shapes if shape[number] is not None), None)
            for number in range(axes)
        ]
        known = [length for length in lengths if length is not None]
        result[axis] = sum(known) if len(known) == len(lengths) else None
        return tuple(result)

    def compute_mask(self, x: Any, mask: Any) -> Mask | None:
        """Return the masks one after the other along the steps, or where any input's step is real."""
        masks: list[Any] = [None] if mask is None else list(mask)
        if all(one is None for one in masks):
            return None
        if self.axis % x[0].ndim == x[0].ndim - 1:
            return super().compute_mask(x, mask)
        parts = []
        for one, real in zip(x, masks, strict=True):
            if real is None:
                parts.append(np.ones_like(one, dtype=bool))
            else:
                parts.append(
                    np.broadcast_to(real.reshape(*real.shape, *(1,) * (one.ndim - real.ndim)), one.shape)
                )
        joined: Any = np.concatenate(parts, axis=self.axis).any(axis=-1)
        return joined  # type: ignore[no-any-return]

    def forward(self, x: Sequence[Array], training: bool = False) -> tuple[Array, Any]:  # type: ignore[override]  # noqa: ARG002
        """Return all inputs in one array; see `Layer.forward`."""
        y: Array = np.concatenate(list(x), axis=self.axis)
        return y, [one.shape[self.axis] for one in x]

    def slopes(self, saved: Any, dy: Array) -> list[Array]:
        """Return each input's part of the output's gradient."""
        found, done = [], 0
        before = (slice(None),) * (self.axis % dy.ndim)
        for length in saved:
            found.append(dy[(*before, slice(done, done + length))])
            done += length
        return found


class Dot(Merge):
    """Products of two inputs, summed over an axis of each, sample by sample.

    Parameters
    ----------
    axes : int or pair of int
        The axis of each; not that of the batch.
    normalize : bool
        Whether vectors along the axes are divided by their lengths first: then it is their cosine.
    **kwargs
        As in `Layer`.
    """

    most = 2

    def __init__(self, axes: int | Sequence[int], normalize: bool = False, **kwargs: Any) -> None:
        pair = (axes, axes) if not isinstance(axes, list | tuple) else tuple(axes)
        if len(pair) != 2:
            raise ValueError(f"axes: expected an integer or two, got {axes!r:.80}")
        pair = tuple(checks.integer(axis, "axes") for axis in pair)
        self.axes: Any = pair[0] if isinstance(axes, int) else pair
        self._pair = pair
        self.normalize = checks.flag(normalize, "normalize")
        super().__init__(**kwargs)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Return (B, axes of one, axes of the other), at least (B, 1); see `Layer.compute_output_shape`."""
        shapes = self.check_shapes(input_shape)
        left = []
        lengths = set()
        for shape, axis in zip(shapes, self._pair, strict=True):
            if not -len(shape) <= axis < len(shape) or axis % len(shape) == 0:
                raise ValueError(f"axes: expected axes after the batch of {shapes}, got {self.axes}")
            lengths.add(shape[axis])
            left.append([size for number, size in enumerate(shape[1:], 1) if number != axis % len(shape)])
        if len(lengths - {None}) > 1:
            raise ValueError(
                f"x: expected axes {self.axes} of the same length for {self.name}, got shapes {shapes}"
            )
        batch = next((shape[0] for shape in shapes if shape[0] is not None), None)
        return (batch, *(left[0] + left[1] or [1]))

    def compute_mask(self, x: Any, mask: Any) -> None:  # noqa: ARG002
        """Return None, as in Keras; see `Layer.compute_mask`."""
        return

    def forward(self, x: Sequence[Array], training: bool = False) -> tuple[Array, Any]:  # type: ignore[override]  # noqa: ARG002
        """Return the products; see `Layer.forward`."""
        rows = [_rows(one, axis) for one, axis in zip(x, self._pair, strict=True)]
        lengths: Any = [None, None]
        if self.normalize:
            # Keras's bound of the squared length.
            lengths = [
                np.sqrt(np.maximum((one * one).sum(axis=-1, keepdims=True), one.dtype.type(1e-12)))
                for one in rows
            ]
            rows = [one / length for one, length in zip(rows, lengths, strict=True)]
        shape: Any = self.compute_output_shape([one.shape for one in x])
        y: Array = np.matmul(rows[0], rows[1].transpose(0, 2, 1)).reshape(shape)
        return y, (rows, lengths, [one.shape for one in x])

    def slopes(self, saved: Any, dy: Array) -> list[Array]:
        """Return the products of the output's gradient with the other input."""
        rows, lengths, shapes = saved
        products = dy.reshape(len(dy), rows[0].shape[1], rows[1].shape[1])
        found = [np.matmul(products, rows[1]), np.matmul(products.transpose(0, 2, 1), rows[0])]
        result = []
        for slope, row, length, shape, axis in zip(found, rows, lengths, shapes, self._pair, strict=True):
            grown = slope
            if length is not None:
                along = (slope * row).sum(axis=-1, keepdims=True)
                # A vector shorter than the bound is divided by a constant.
                along = np.where(length > np.sqrt(length.dtype.type(1e-12)), along, length.dtype.type(0))
                grown = (slope - row * along) / length
            others = [size for number, size in enumerate(shape) if number != axis % len(shape)]
            result.append(np.moveaxis(grown.reshape(*others, shape[axis]), -1, axis))
        return result


def _rows(x: Array, axis: int) -> Array:
    """Return (B, all other axes, the axis)."""
    moved: Array = np.moveaxis(x, axis, -1)
    return moved.reshape(len(x), math.prod(moved.shape[1:-1]), x.shape[axis])


def add(inputs: Any, **kwargs: Any) -> Any:
    """Return `Add` of a list of tensors or arrays."""
    return Add(**kwargs)(inputs)


def subtract(inputs: Any, **kwargs: Any) -> Any:
    """Return `Subtract` of two tensors or arrays."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Any, **kwargs: Any) -> Any:
    """Return `Multiply` of a list of tensors or arrays."""
    return Multiply(**kwargs)(inputs)


def average(inputs: Any, **kwargs: Any) -> Any:
    """Return `Average` of a list of tensors or arrays."""
    return Average(**kwargs)(inputs)


def maximum(inputs: Any, **kwargs: Any) -> Any:
    """Return `Maximum` of a list of tensors or arrays."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Any, **kwargs: Any) -> Any:
    """Return `Minimum` of a list of tensors or arrays."""
    return Minimum(**kwargs)(inputs)


def concatenate(inputs: Any, axis: int = -1, **kwargs: Any) -> Any:
    """Return `Concatenate` of a list of tensors or arrays."""
    return Concatenate(axis, **kwargs)(inputs)


def dot(inputs: Any, axes: int | Sequence[int] = -1, **kwargs: Any) -> Any:
    """Return `Dot` of two tensors or arrays."""
    return Dot(axes, **kwargs)(inputs)
