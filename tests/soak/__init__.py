"""The soak test, `make soak`: kill every process in turn, and report what was lost."""
