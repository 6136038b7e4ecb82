"""`python -m pipeline.erase`: see erase.py."""

from pipeline.erase.erase import main
from pipeline.runtime.exits import leave

if __name__ == "__main__":
    leave(main())
