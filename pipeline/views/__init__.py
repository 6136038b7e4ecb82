"""Show results to people in Dagster, MLflow and the lookbook: counts, table previews, charts, sheets of pictures."""
