"""Tools for people who write or check kernels: a float64 reference, tolerances, a gradient check.

The reference is plain NumPy written from the published equations. It shares no code with the kernels,
so agreement between the two says something about both.

Letters: ``B`` batch, ``T`` time steps, ``I`` input features, ``H`` units. The layout is Keras's:
``x (B, T, I)``, ``kernel (I, 4H)``, ``recurrent_kernel (H, 4H)``, ``bias (4H,)``; the gates' order along the
last axis is ``i, f, c~, o`` (input gate, forget gate, candidate, output gate).

Examples
--------
>>> import numpy as np
>>> from fusedlstm.testing import assert_close, lstm_forward_reference
>>> x, kernel, recurrent_kernel = np.ones((1, 2, 3)), np.zeros((3, 8)), np.zeros((2, 8))
>>> expected = lstm_forward_reference(x, kernel, recurrent_kernel, h0=None, c0=np.ones((1, 2)))
>>> assert_close(expected.c, np.full((1, 2), 0.25), dtype=np.float64, terms=3 + 2, steps=2) <= 1
True
"""

from fusedlstm.testing.ctc import CTCReference, ctc_loss_reference, ctc_paths_reference
from fusedlstm.testing.gradients import GradientCheck, check_gradients
from fusedlstm.testing.layer_norm import layer_norm_backward_reference, layer_norm_reference
from fusedlstm.testing.reference import (
    LSTMReference,
    LSTMReferenceGradients,
    cell_backward_reference,
    cell_forward_reference,
    dense_backward_reference,
    dense_forward_reference,
    lstm_backward_reference,
    lstm_forward_reference,
)
from fusedlstm.testing.second_order import LSTMSecondReference, lstm_second_reference
from fusedlstm.testing.tolerances import assert_close, storage_tolerance, tolerance
from fusedlstm.testing.variants import (
    LSTMStatesReference,
    activation_reference,
    lstm_states_reference,
    lstm_variant_reference,
    zoneout_reference,
)

__all__ = [
    "CTCReference",
    "GradientCheck",
    "LSTMReference",
    "LSTMReferenceGradients",
    "LSTMSecondReference",
    "LSTMStatesReference",
    "activation_reference",
    "assert_close",
    "cell_backward_reference",
    "cell_forward_reference",
    "check_gradients",
    "ctc_loss_reference",
    "ctc_paths_reference",
    "dense_backward_reference",
    "dense_forward_reference",
    "layer_norm_backward_reference",
    "layer_norm_reference",
    "lstm_backward_reference",
    "lstm_forward_reference",
    "lstm_second_reference",
    "lstm_states_reference",
    "lstm_variant_reference",
    "storage_tolerance",
    "tolerance",
    "zoneout_reference",
]
