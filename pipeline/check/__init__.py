"""The scrub of a home: every file compared with its digest."""
