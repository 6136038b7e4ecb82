"""The code location that workspace.yaml names. `build.py` builds everything in it."""

import multiprocessing.process
import os
from pathlib import Path

# `make ui` starts the code server in a separate folder, because a `.env` in Dagster's working directory overrides the
# shell. Relative paths in the environment start where `make ui` was called, here and in every child process.
STARTED_IN = "ATELIER_STARTED_IN"
if os.environ.get(STARTED_IN):
    os.chdir(os.environ[STARTED_IN])
    multiprocessing.process.ORIGINAL_DIR = str(Path.cwd())  # ty: ignore[missing-attribute] # where spawned processes start

from pipeline.build import build_definitions  # noqa: E402

defs = build_definitions()
