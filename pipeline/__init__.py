"""Atelier's orchestration: the only package that knows Dagster."""
