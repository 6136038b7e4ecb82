"""Model cards and data cards: what a model is, what it was trained on, how good it is, and what not to use it for."""
