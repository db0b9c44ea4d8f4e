"""What a workload's table does not say by itself: padding saved, weights rounded, memory saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.benchmark.peers import OURS, VARIANTS

if TYPE_CHECKING:
    from collections.abc import Mapping


def remarks(result: Mapping[str, Any]) -> list[str]:
    """Return a sentence about each of this library's variants that took part.

    Parameters
    ----------
    result
        A workload's entry in the JSON file.
    """
    return [_remark(name, entry, result) for name, entry in result["contenders"].items() if name in VARIANTS]


def _remark(name: str, entry: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    variant, ratio = VARIANTS[name], entry["time_relative_to_ours"]["median"]
    if variant.padded:
        share = result["real_share"]
        return (
            f"{100 * share:.1f} % of the steps are real; {OURS} takes {1 / (share * ratio):.2f} times that "
            "share of its padded time"
        )
    if variant.in_float32:
        return (
            f"results differ from the reference's by {result['contenders'][OURS]['difference']:.2g} at most, "
            f"by {entry['difference']:.2g} with products of float32, which take {ratio:.2f} times as long"
        )
    if variant.storage is not None:
        return (
            f"{name}: results differ by {entry['difference']:.2g} at most, "
            f"{100 * entry['agreement']:.0f} % of what rounding the weights explains"
        )
    whole, part = result["contenders"][OURS]["tape_bytes"], entry["tape_bytes"]
    return (
        f"tape: {whole / 1e6:.4g} MB whole, {part / 1e6:.4g} MB with checkpoint_every="
        f"{variant.checkpoint_every}, {whole / part:.1f} times less, for {ratio:.2f} times the time"
    )
