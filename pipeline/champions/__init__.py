"""Registered models: which one is the champion, how a new model replaces it, and how it is served."""
