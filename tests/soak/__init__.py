"""The soak: `python -m tests.soak` kills everything that can be killed, and says what was lost. `make soak`."""
