"""`python -m pipeline.study`: see grid.py."""

from pipeline.command import leave
from pipeline.study.grid import main

if __name__ == "__main__":
    leave(main())
