"""Services of a run: resources, tracking, progress, failures, provenance, the summary, exit codes. No data work."""
