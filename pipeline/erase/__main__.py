"""`python -m pipeline.erase`: see erase.py."""

from pipeline.command import leave
from pipeline.erase.erase import main

if __name__ == "__main__":
    leave(main())
