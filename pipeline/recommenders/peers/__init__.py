"""Recommenders of other projects: peers for studies, each trained in a Python environment of its own under the home."""
