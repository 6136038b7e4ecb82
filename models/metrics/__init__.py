"""Metrics of recommenders and generators: arrays and scores in, numbers out. Nothing here trains."""
