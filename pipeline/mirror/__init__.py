"""A copy of the home in an object store, kept up to date."""
