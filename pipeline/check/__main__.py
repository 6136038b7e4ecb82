"""`python -m pipeline.check`: compare every file of the home with its digest."""

from pipeline.check.scrub import main
from pipeline.runtime.exits import leave

if __name__ == "__main__":
    leave(main())
