"""The default number types and the small constant that Keras keeps in ``keras.config``."""

from __future__ import annotations

__all__ = ["DTypePolicy", "dtype_policy", "epsilon", "floatx", "set_dtype_policy", "set_floatx"]

_EPSILON = 1e-7
_FLOAT_TYPES = ("float32", "float64")
# The types of weights and results, and of what is multiplied.
_POLICIES = {
    **{name: (name, name) for name in _FLOAT_TYPES},
    "mixed_bfloat16": ("float32", "bfloat16"),
    "int8_from_float32": ("float32", "int8"),
}
_floatx = "float32"
_policy: DTypePolicy | None = None


class DTypePolicy:
    """What type of numbers a layer has, and which ones it multiplies; Keras's name.

    Parameters
    ----------
    name : {"float32", "float64", "mixed_bfloat16", "int8_from_float32"}
        With ``"mixed_bfloat16"`` weights, states, gradients and results are float32, and LSTMs and `Dense`
        multiply as ``ops.LSTMWeights(..., compute="bfloat16")`` does. Layers without such kernels compute in
        float32; Keras's would return bfloat16. ``"int8_from_float32"`` is what `Layer.quantize` gives LSTMs,
        for inference: ``ops.LSTMWeights(..., compute="int8")``.

    Raises
    ------
    ValueError
        If it is another name.
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or name not in _POLICIES:
            raise ValueError(f"name: expected one of {list(_POLICIES)}, got {name!r}")
        self._name = name

    @property
    def name(self) -> str:
        """The policy's name."""
        return self._name

    @property
    def variable_dtype(self) -> str:
        """The type of weights and results."""
        return _POLICIES[self._name][0]

    @property
    def compute_dtype(self) -> str:
        """The type of numbers that are multiplied; as in Keras float32 of a quantized layer."""
        kind = _POLICIES[self._name][1]
        return self.variable_dtype if kind == "int8" else kind

    @property
    def quantization_mode(self) -> str | None:
        """``"int8"`` of a quantized layer, else None."""
        return "int8" if _POLICIES[self._name][1] == "int8" else None

    @property
    def compute(self) -> str | None:
        """What products are computed in, for `compute` of `fusedlstm.ops`; None for the type of weights."""
        weights, products = _POLICIES[self._name]
        return None if products == weights else products

    def get_config(self) -> dict[str, str]:
        """Return the arguments that make an equal policy."""
        return {"name": self._name}

    @classmethod
    def from_config(cls, config: dict[str, str]) -> DTypePolicy:
        """Make a policy from `get_config`'s result."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicy) and other.name == self._name

    def __hash__(self) -> int:
        return hash(self._name)

    def __repr__(self) -> str:
        return f'<DTypePolicy "{self._name}">'


def policy_of(dtype: object, name: str) -> DTypePolicy:
    """Return the policy that a layer's ``dtype`` means: a type, a policy's name, itself, or None.

    Parameters
    ----------
    dtype : DTypePolicy or str or numpy.dtype or type or None
        What the caller gave.
    name : str
        The argument's name, for the message.

    Raises
    ------
    ValueError
        If it means none.
    """
    if dtype is None:
        return dtype_policy()
    if isinstance(dtype, DTypePolicy):
        return dtype
    text = getattr(dtype, "__name__", None) or str(dtype)
    if text not in _POLICIES:
        raise ValueError(f"{name}: expected one of {list(_POLICIES)}, got {dtype!r}")
    return DTypePolicy(text)


def dtype_policy() -> DTypePolicy:
    """Return the policy of layers made without a ``dtype``: that of `floatx`, unless another one was set."""
    return _policy or DTypePolicy(_floatx)


def set_dtype_policy(policy: DTypePolicy | str | None) -> None:
    """Set the policy of layers made from now on.

    Parameters
    ----------
    policy : DTypePolicy or str or None
        The policy or its name, or None for that of `floatx`.

    Raises
    ------
    ValueError
        If it is another one.
    """
    global _policy
    _policy = None if policy is None else policy_of(policy, "policy")


def check_float_type(value: object, name: str) -> str:
    """Return ``value`` as ``"float32"`` or ``"float64"``.

    Parameters
    ----------
    value : str or numpy.dtype or type
        What the caller gave.
    name : str
        The argument's name, for the message.

    Raises
    ------
    ValueError
        If it is anything else: the kernels know these two types.
    """
    text = getattr(value, "__name__", None) or str(value)
    if text not in _FLOAT_TYPES:
        raise ValueError(f"{name}: expected one of {list(_FLOAT_TYPES)}, got {value!r}")
    return text


def floatx() -> str:
    """Return the number type of layers made without a ``dtype``: ``"float32"`` unless changed."""
    return _floatx


def set_floatx(value: str) -> None:
    """Set the number type of layers made from now on.

    Parameters
    ----------
    value : {"float32", "float64"}
        The type.

    Raises
    ------
    ValueError
        If it is neither.
    """
    global _floatx
    _floatx = check_float_type(value, "floatx")


def epsilon() -> float:
    """Return 1e-7: probabilities are clipped to [epsilon, 1 - epsilon] before a logarithm, as in Keras."""
    return _EPSILON
