"""Tests of the examples and of the command that runs them."""
