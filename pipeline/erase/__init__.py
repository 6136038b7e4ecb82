"""`python -m pipeline.erase`: names leave the home, and nothing of them is left."""
