"""``fusedlstm bench``: verify and time this library and its peers on this machine.

Every contender (this library, other ways to use it, each peer, the multiply-add peak's measurement) lives in
a process of its own, started by `worker`: two frameworks in one process would share thread pools and
settings, and Keras has one backend per process. A contender whose turn it is not is stopped by a signal, so
that its idle threads cannot spin on the cores that another one is timed on.

Contenders take turns of `runner.TURN_SECONDS`, in another order each round; the peak is measured once a
round. A turn's calls come in samples of about a millisecond, whose mean is one number. Reported are median,
10th and 90th percentile of the samples; shares of the peak and ratios to this library are taken within a
round and then summarised the same way.

``--json`` writes one object:

- ``format``: 1;
- ``machine``: processor, caches (bytes), versions, and ``by_threads``: peak (GFLOP/s), bandwidths (GB/s);
- ``options``, ``versions``, ``load_warning``; ``left_out``: peers that could not be started, and why;
- ``workloads``: a list of ``name``, ``kind``, ``sizes``, ``real_share`` of the padded steps, ``operations``
  and their formula, ``bytes``, ``rounds``, ``peak_gflops``, ``failed`` (peers that raised an error, and
  which), and ``contenders``: for each ``seconds``, ``fraction_of_peak`` and ``time_relative_to_ours`` as
  median, p10, p90 and number of samples, ``gflops`` at the median, ``first_seconds`` of the first call,
  ``cores`` kept busy on average, ``agreement``: the worst difference from the float64 reference in units of
  what rounding explains, that of narrow weights included, ``difference``: the largest one as a number,
  ``tape_bytes`` between forward and backward, where known, else null;
- ``refused``: workloads that were not timed because results differ, with each contender's worst difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusedlstm.benchmark.command import bench_command

__all__ = ["bench_command"]


def __getattr__(name: str) -> Any:
    # Workers import this package too, and need neither click nor rich.
    if name == "bench_command":
        from fusedlstm.benchmark.command import bench_command

        return bench_command
    raise AttributeError(f"module 'fusedlstm.benchmark' has no attribute {name!r}")
