"""`python -m pipeline.ui`: the command that serves the two UIs (`pipeline/cli/ui.py`)."""

import sys

from pipeline.cli.ui import main

if __name__ == "__main__":
    sys.exit(main())
