"""Tests of the comparison of train and test sets."""
