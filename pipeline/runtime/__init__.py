"""What surrounds a run: tracking, progress, typed failures, provenance, the summary, exit codes. No data work."""
