"""Calls on a model while another thread changes its weights."""
