"""Networks, losses, training loops and metrics. Imports only torch, torchvision, numpy and typing_extensions."""

import sys

from models.training import signals

if sys.argv[:1] == ["-m"]:  # `python -m models...` is starting: Ctrl-C must work during its seconds of imports
    signals.leave_at_once()
