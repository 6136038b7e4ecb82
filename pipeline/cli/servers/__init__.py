"""The server processes that `pipeline/cli/ui.py` starts: the supervisor, Dagster's webserver and its request guard."""
