"""Array-level kernels: the LSTM and what surrounds it, on NumPy arrays, or on CuPy's on an NVIDIA GPU.

Letters: ``B`` batch rows, ``T`` time steps, ``I`` input features, ``H`` units. Weights have Keras's layout,
``kernel (I, 4H)``, ``recurrent_kernel (H, 4H)``, ``bias (4H,)``, with the gates in the order i, f, c~, o.
With a ``projection (H, R)`` hidden states and the rows of ``recurrent_kernel`` have R numbers instead of H;
without one R is H.
All arrays of one call share a dtype, float32 or float64.

Arrays may have any strides as long as the last dimension is contiguous; others are copied first, or in strict
mode (`fusedlstm.set_strict`) refused. Results are
new arrays in C order. Each result has the same bits for any number of threads, and a row's states and input
gradients do not depend on the batch it is in. Denormal numbers are flushed to zero inside the kernels; NaN
and infinity propagate as in NumPy. The interpreter's lock is released while a kernel runs. Other threads may
do anything with a call's arrays then, but resizing them in place: that is a ValueError of NumPy's, also with
``refcheck=False``. What they write into them may be seen or not, number by number.

`get_num_threads` says how many threads a call may use, `why_num_threads` what decided it, the first of
these: ``set_num_threads(count)``; in the environment FUSEDLSTM_NUM_THREADS, then OMP_NUM_THREADS (the first
number of a list; what is no list of positive numbers is ignored, as OpenMP does); the cores in the
process's affinity mask, or fewer where cgroups' quotas allow less time (rounded up). Masks and quotas are
read at import, once more in a forked child and by ``set_num_threads(None)``, and not whenever they change.

On a GPU
--------
CuPy arrays dispatch by themselves: all arrays of a call lie on the current device, and so do the results; the
work is queued on CuPy's current stream. NumPy arrays beside them are an error: nothing is copied to or from
the GPU in silence. `fusedlstm.cuda.asarray` makes CuPy arrays of what DLPack exchanges. There

- arrays may also be float16 or bfloat16 in the functions of the LSTM, in `dropout` and in embeddings; sums,
  cell states, their gradients and peepholes are float32 then;
- products of whole arrays (``x kernel``, and those of the weights' gradients) are cuBLAS's, in float32
  without TF32 unless CuPy is told otherwise with CUPY_TF32=1 in the environment. Calls with the same shapes
  have the same bits, and a row's results do not depend on its place or on the other rows; but cuBLAS may add
  in another order for another number of rows, so that `lstm_step`, smaller batches and the windows of
  ``checkpoint_every`` give the same numbers up to rounding, and the weights' gradients of windows are summed
  up. Denormal numbers are kept;
- x with gaps between its steps, ``go_backwards``, ``lengths`` and ``mask`` take a pass over x;
- checks of ``lengths``, labels and ids wait for the GPU;
- `ctc_loss` has a block for each row, whose shared memory limits its labels, to thousands;
- `ctc_decode` takes NumPy arrays alone;
- ``storage``, and ``keep=True`` with the second derivatives that follow, are `NotImplementedError`, before
  anything is computed.
"""

from __future__ import annotations

from fusedlstm._core import (
    GradientTape,
    Tape,
    get_instruction_set,
    get_num_threads,
    instruction_sets,
    last_kernel,
    set_instruction_set,
    set_num_threads,
    why_num_threads,
)
from fusedlstm.ops.ctc import CTCResult, ctc_loss
from fusedlstm.ops.decoding import CTCDecoded, NGramScorer, ctc_decode
from fusedlstm.ops.lstm import (
    LayerNormGradients,
    LSTMGradients,
    LSTMResult,
    LSTMStates,
    lstm_backward,
    lstm_forward,
    lstm_states,
    lstm_step,
)
from fusedlstm.ops.options import ACTIVATIONS, CellOptions, LayerNorm
from fusedlstm.ops.products import get_product_set, product_sets, set_product_set
from fusedlstm.ops.rows import (
    cell_backward,
    cell_forward,
    dense_backward,
    dense_forward,
    dropout,
    embedding_backward,
    embedding_forward,
    layer_norm_backward,
    layer_norm_forward,
)
from fusedlstm.ops.second_order import (
    LSTMSecondGradients,
    LSTMTangents,
    lstm_jvp,
    lstm_second_backward,
)
from fusedlstm.ops.stack import (
    LSTMStackGradients,
    LSTMStackResult,
    StackTape,
    lstm_stack_backward,
    lstm_stack_forward,
)
from fusedlstm.ops.updates import (
    adadelta_update,
    adagrad_update,
    adam_update,
    adamax_update,
    lion_update,
    nadam_update,
    rmsprop_update,
    sgd_update,
    squared_norm,
)
from fusedlstm.ops.weights import LSTMWeights

__all__ = [
    "ACTIVATIONS",
    "CTCDecoded",
    "CTCResult",
    "CellOptions",
    "GradientTape",
    "LSTMGradients",
    "LSTMResult",
    "LSTMSecondGradients",
    "LSTMStackGradients",
    "LSTMStackResult",
    "LSTMStates",
    "LSTMTangents",
    "LSTMWeights",
    "LayerNorm",
    "LayerNormGradients",
    "NGramScorer",
    "StackTape",
    "Tape",
    "adadelta_update",
    "adagrad_update",
    "adam_update",
    "adamax_update",
    "cell_backward",
    "cell_forward",
    "ctc_decode",
    "ctc_loss",
    "dense_backward",
    "dense_forward",
    "dropout",
    "embedding_backward",
    "embedding_forward",
    "get_instruction_set",
    "get_num_threads",
    "get_product_set",
    "instruction_sets",
    "last_kernel",
    "layer_norm_backward",
    "layer_norm_forward",
    "lion_update",
    "lstm_backward",
    "lstm_forward",
    "lstm_jvp",
    "lstm_second_backward",
    "lstm_stack_backward",
    "lstm_stack_forward",
    "lstm_states",
    "lstm_step",
    "nadam_update",
    "product_sets",
    "rmsprop_update",
    "set_instruction_set",
    "set_num_threads",
    "set_product_set",
    "sgd_update",
    "squared_norm",
    "why_num_threads",
]
