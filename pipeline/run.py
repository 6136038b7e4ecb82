"""`python -m pipeline.run`: the command that materialises everything (`pipeline/cli/run.py`)."""

import sys

from pipeline.cli.run import main

if __name__ == "__main__":
    sys.exit(main())
