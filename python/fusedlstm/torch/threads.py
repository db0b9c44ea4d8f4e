"""The threads that kernels run on beside PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from fusedlstm import _core


def share_threads(on: bool = True) -> bool:
    """Run this package's kernels on PyTorch's OpenMP threads, or on threads of their own again.

    Importing `fusedlstm.torch` shares them. After each of PyTorch's loops its idle threads spin for
    milliseconds on all cores, which threads of our own would then have to wait for; a kernel that runs on
    PyTorch's begins at once. After a pause they sleep, or other processes have their cores, and a loop on
    them would wait: then kernels run on threads of our own, which no call waits for. Results do not depend
    on the threads. `fusedlstm.last_kernel` says "OpenMP threads" where kernels ran on shared ones.

    Kernels keep threads of their own where PyTorch has no OpenMP of a usable kind (libgomp, or LLVM's or
    Intel's on Linux), was told that its threads shall sleep at once (OMP_WAIT_POLICY=passive,
    GOMP_SPINCOUNT=0, KMP_BLOCKTIME=0), or has fewer of them than `fusedlstm.ops.get_num_threads`; and in a
    forked child.

    Parameters
    ----------
    on : bool
        Whether to share.

    Returns
    -------
    bool
        Whether threads are shared now.
    """
    if not on:
        _core.leave_openmp()
        return False
    name = "libtorch_cpu.dylib" if sys.platform == "darwin" else "libtorch_cpu.so"
    return _core.join_openmp(str(Path(torch.__file__).parent / "lib" / name))
