"""The code location that workspace.yaml names. Everything is made in `build.py`."""

from pipeline.build import build_definitions

defs = build_definitions()
