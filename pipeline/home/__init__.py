"""A home: where everything lies, how tables reach the disk, the Dagster instance, the environment variables."""
