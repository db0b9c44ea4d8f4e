"""These kernels in PyTorch: `LSTM` in place of ``torch.nn.LSTM``, on CPU tensors and on CUDA tensors.

`ctc_loss` stands in place of ``torch.nn.functional.ctc_loss`` on CPU tensors.

Not imported by ``import fusedlstm``; it needs PyTorch, ``pip install "fusedlstm[torch]"``. Kernels read
tensors where they lie and their results become tensors without a copy; they run on PyTorch's threads
(`share_threads`) or its current stream.
"""

from fusedlstm.torch.ctc import ctc_loss
from fusedlstm.torch.lstm import LSTM
from fusedlstm.torch.threads import share_threads

__all__ = ["LSTM", "ctc_loss", "share_threads"]

share_threads()
