"""The code location that workspace.yaml names. Everything is made in `build.py`."""

import multiprocessing.process
import os
from pathlib import Path

# `make ui` starts the code server in a folder of its own, because a `.env` in Dagster's working directory wins over the
# shell. Paths of the environment count from where `make ui` was called, here and in every process started from here.
STARTED_IN = "ATELIER_STARTED_IN"
if os.environ.get(STARTED_IN):
    os.chdir(os.environ[STARTED_IN])
    multiprocessing.process.ORIGINAL_DIR = str(Path.cwd())  # ty: ignore[missing-attribute] # spawned ones begin there

from pipeline.build import build_definitions  # noqa: E402

defs = build_definitions()
