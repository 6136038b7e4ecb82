"""`python -m pipeline.study`: see grid.py."""

import sys

from pipeline.study.grid import main

if __name__ == "__main__":
    sys.exit(main())
