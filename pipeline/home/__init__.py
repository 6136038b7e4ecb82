"""A home: its layout, how tables reach the disk, the Dagster instance, the environment variables."""
