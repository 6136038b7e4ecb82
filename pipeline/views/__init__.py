"""How results look to a person in Dagster and MLflow: counts, heads of tables, charts, sheets of pictures."""
