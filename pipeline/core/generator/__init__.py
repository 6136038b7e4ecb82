"""The generator's data and metrics: garment classes, the pictures of each, and figures of generated pictures."""
