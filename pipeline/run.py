"""`python -m pipeline.run`: run everything, from the raw reviews to the lookbook."""

from pipeline.cli.run import main
from pipeline.runtime.exits import leave

if __name__ == "__main__":
    leave(main())
