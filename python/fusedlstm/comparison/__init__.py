"""Train and test sets that disagree: what differs, in words, a picture and JSON."""

from fusedlstm.comparison.compare import compare_data
from fusedlstm.comparison.findings import Finding
from fusedlstm.comparison.result import Comparison

__all__ = ["Comparison", "Finding", "compare_data"]
