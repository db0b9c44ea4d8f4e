"""``fusedlstm bench``. No test looks at a time."""
