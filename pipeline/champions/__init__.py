"""Registered models: which one is in use, how another takes its place, and how it is served."""
