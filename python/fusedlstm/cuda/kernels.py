"""The functions of `fusedlstm._core` for device arrays, by the same names (see ops.dispatch)."""

from __future__ import annotations

from fusedlstm.cuda.ctc import ctc_loss as ctc_loss
from fusedlstm.cuda.dense import dense_backward as dense_backward
from fusedlstm.cuda.dense import dense_forward as dense_forward
from fusedlstm.cuda.dense import embedding_backward as embedding_backward
from fusedlstm.cuda.dense import embedding_forward as embedding_forward
from fusedlstm.cuda.dense import layer_norm_backward as layer_norm_backward
from fusedlstm.cuda.dense import layer_norm_forward as layer_norm_forward
from fusedlstm.cuda.elementwise import cell_backward as cell_backward
from fusedlstm.cuda.elementwise import cell_forward as cell_forward
from fusedlstm.cuda.elementwise import dropout as dropout
from fusedlstm.cuda.elementwise import squared_norm as squared_norm
from fusedlstm.cuda.elementwise import update as update
from fusedlstm.cuda.lstm import lstm_backward as lstm_backward
from fusedlstm.cuda.lstm import lstm_forward as lstm_forward
from fusedlstm.cuda.lstm import lstm_states as lstm_states
from fusedlstm.cuda.lstm import lstm_step as lstm_step
