"""Jobs that LSTMs are used for, each from raw data to a verified result: ``fusedlstm example``.

Each file is one job, written with the package's public names, to be read from top to bottom and changed.
"""
