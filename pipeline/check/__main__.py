"""Run `python -m pipeline.check`."""

from pipeline.check.scrub import main
from pipeline.runtime.exits import leave

if __name__ == "__main__":
    leave(main())
