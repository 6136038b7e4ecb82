"""The data work, without Dagster and MLflow."""
