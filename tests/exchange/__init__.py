"""Comparisons with other libraries, model by model."""
