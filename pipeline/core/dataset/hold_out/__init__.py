"""Ways to choose which pairs, or pictures of them, are held out from training."""
