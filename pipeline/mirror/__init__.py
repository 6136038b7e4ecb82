"""A copy of the home in an object store, kept in step with it."""
