"""Run `python -m pipeline.study`."""

import sys

from pipeline.study.grid import main

if __name__ == "__main__":
    sys.exit(main())
