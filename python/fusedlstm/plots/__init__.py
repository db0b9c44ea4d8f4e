"""Pictures with one look: the finding as title, colours that all readers can tell apart, PNG files.

`figure` and `save` are for any picture; the others show what an LSTM does (`gates`, `saturation`,
`gradient_norms`) and how it was trained (`training_curves`). matplotlib (the extra ``report``) draws them,
without a display and without pyplot's global state.
"""

from fusedlstm.plots.curves import training_curves
from fusedlstm.plots.drawing import COLOURS, figure, label_line, save
from fusedlstm.plots.gradients import StateGradients, gradient_norms, measure_gradients
from fusedlstm.plots.heatmaps import gates
from fusedlstm.plots.saturated import Saturation, measure_saturation, saturation

__all__ = [
    "COLOURS",
    "Saturation",
    "StateGradients",
    "figure",
    "gates",
    "gradient_norms",
    "label_line",
    "measure_gradients",
    "measure_saturation",
    "saturation",
    "save",
    "training_curves",
]
