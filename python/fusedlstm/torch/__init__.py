"""These kernels in PyTorch: `LSTM` in place of ``torch.nn.LSTM``, on CPU tensors.

Not imported by ``import fusedlstm``; it needs PyTorch, ``pip install "fusedlstm[torch]"``. Kernels read
tensors where they lie and their results become tensors without a copy.
"""

from fusedlstm.torch.lstm import LSTM

__all__ = ["LSTM"]
