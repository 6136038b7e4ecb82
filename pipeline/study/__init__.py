"""Studies of recommenders: models x modes x splits x seeds, the search for settings, and Cornac as a peer."""
