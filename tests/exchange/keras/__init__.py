"""Keras: its files and models, read and written, and training as it trains."""
