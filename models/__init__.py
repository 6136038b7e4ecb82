"""Networks, losses, training loops, searches and metrics: torch, torchvision and numpy alone."""

import sys

from models import signals

if sys.argv[:1] == ["-m"]:  # `python -m models...` is starting: its imports take seconds, and may be interrupted
    signals.leave_at_once()
