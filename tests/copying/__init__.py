"""Copies and pickles."""
