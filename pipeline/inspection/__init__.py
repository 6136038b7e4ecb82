"""What a shop's files hold and whether anything can come of them, in seconds, without Dagster and torch."""
