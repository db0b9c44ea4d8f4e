"""`LSTMClassifier` and `LSTMRegressor` for scikit-learn, which the extra ``sklearn`` installs."""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError('fusedlstm.sklearn needs scikit-learn: pip install "fusedlstm[sklearn]"') from error

from fusedlstm.sklearn.estimators import EXPECTED_FAILED_CHECKS, LSTMClassifier, LSTMRegressor

__all__ = ["EXPECTED_FAILED_CHECKS", "LSTMClassifier", "LSTMRegressor"]
