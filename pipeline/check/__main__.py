"""Run `python -m pipeline.check`."""

from pipeline.runtime.exits import leave
from pipeline.upkeep.scrub import main

if __name__ == "__main__":
    leave(main())
