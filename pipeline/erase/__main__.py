"""`python -m pipeline.erase`: see erase.py."""

import sys

from pipeline.erase.erase import main

if __name__ == "__main__":
    sys.exit(main())
