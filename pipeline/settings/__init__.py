"""Settings: the table of ops and their settings classes, presets, profiles, Dagster Configs, the method of a run."""
