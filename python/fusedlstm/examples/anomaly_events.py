"""What belongs together among the flows that the example `anomaly` flags, and why it was flagged."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusedlstm.examples.flows import Flows

    Array = NDArray[Any]


def events(flagged: Array, scores: Array, gap: int = 5) -> list[tuple[int, int]]:
    """Return first and last flow of what belongs together, the most surprising first."""
    places = np.flatnonzero(flagged)
    groups = np.split(places, np.flatnonzero(np.diff(places) > gap) + 1) if len(places) else []
    return sorted(((g[0], g[-1]) for g in groups), key=lambda e: -float(scores[e[0] : e[1] + 1].max()))


def attacks(labels: Array, chosen: Array) -> list[tuple[str, int, int]]:
    """Return name, first flow and end of each run of chosen flows with the label of one attack."""
    named = np.where(chosen, labels, "")
    edges = [0, *(np.flatnonzero(named[1:] != named[:-1]) + 1), len(named)]
    return [(str(named[first]), int(first), int(end)) for first, end in pairwise(edges) if named[first]]


def counted(labels: Array) -> dict[str, int]:
    """Return how many flows have each label: attacks first, the most frequent one before the others."""
    counts = Counter(str(label) or "normal" for label in labels)
    return dict(sorted(counts.items(), key=lambda one: (one[0] == "normal", -one[1], one[0])))


def flows_in_words(event: dict[str, Any]) -> str:
    """Return how many flows an event has, and what they are: ``52 flows: 50 neptune, 1 land, 1 normal``."""
    flows = f"{event['flows']} flow{'s' * (event['flows'] > 1)}"
    if len(event["labels"]) < 2:
        return f"{flows}, {event['label']}"
    return f"{flows}: {', '.join(f'{count} {label}' for label, count in event['labels'].items())}"


def in_words(event: dict[str, Any]) -> str:
    """Return what an event is and what surprised most in it, in a line."""
    reasons = "; ".join(
        f"{one['feature']} {one['was']:.4g}, expected {one['expected']:.4g}" for one in event["surprises"][:3]
    )
    return f"{event['kind']} ({flows_in_words(event)}): {reasons}"


def explain(traffic: Flows, parts: Array, expected: Array, event: tuple[int, int]) -> dict[str, Any]:
    """Return what surprised most at the peak of an event: numbers, what was expected, their shares.

    ``labels`` counts those of all its flows, attacks first; its ``label`` is the most frequent attack.
    """
    first, last = event
    peak = first + int(parts[first : last + 1].mean(axis=1).argmax())
    differs = ~np.isclose(traffic.numbers[peak], expected[peak], atol=1e-3)
    labels = {} if traffic.labels is None else counted(traffic.labels[first : last + 1])
    top = np.argsort(-parts[peak] * differs, kind="stable")[:4]
    return {
        "flows": int(last - first + 1),
        "where": float(traffic.where[peak]),
        "kind": " ".join(traffic.kinds[peak]) or "flow",
        "labels": labels,
        "label": next(iter(labels), "not labelled"),
        "score": float(parts[peak].mean()),
        "surprises": [
            {
                "feature": traffic.number_names[f],
                "was": float(traffic.numbers[peak, f]),
                "expected": float(expected[peak, f]),
                "share": float(parts[peak, f] / parts[peak].sum()),
            }
            for f in top
        ],
    }
