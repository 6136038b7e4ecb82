"""Run `python -m pipeline.study`."""

from pipeline.runtime.exits import leave
from pipeline.study.grid import main

if __name__ == "__main__":
    leave(main())
