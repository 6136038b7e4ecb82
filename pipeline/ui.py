"""`python -m pipeline.ui`: serve Dagster's UI and MLflow's over one home."""

from pipeline.cli.ui import main
from pipeline.runtime.exits import leave

if __name__ == "__main__":
    leave(main())
