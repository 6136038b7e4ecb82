"""Studies that compare recommenders and generators, and the search for better settings."""
