"""Atelier's orchestration: the only package that knows Dagster."""

import sys
import warnings

from models import signals

# Dagster says at every import which of its features are in beta or preview; requirements.txt pins what we tested.
warnings.filterwarnings("ignore", message=".*(in beta|in preview).*")

if sys.argv[:1] == ["-m"]:  # `python -m pipeline...` is starting: its imports take seconds, and may be interrupted
    signals.leave_at_once()
