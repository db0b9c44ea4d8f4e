"""Files: how they are written and replaced, and how much one may ask for."""
