"""The data work, pure: neither Dagster nor MLflow."""
