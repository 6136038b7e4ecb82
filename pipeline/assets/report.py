"""The report: one page over everything."""
