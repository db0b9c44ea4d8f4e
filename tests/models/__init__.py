"""Models: training, structure, and what is refused."""
