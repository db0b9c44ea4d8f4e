"""Pictures with one look: the finding as title, colours that all readers can tell apart, PNG files.

matplotlib (the extra ``report``) draws them, without a display and without pyplot's global state.
"""

from fusedlstm.plots.drawing import COLOURS, figure, label_line, save

__all__ = ["COLOURS", "figure", "label_line", "save"]
