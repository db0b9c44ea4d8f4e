"""Models in files: one checked .safetensors file each, without pickle; Keras's files too."""

from fusedlstm.io.model import load_model, save_model

__all__ = ["load_model", "save_model"]
