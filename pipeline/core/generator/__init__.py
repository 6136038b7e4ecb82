"""The generator's data and measures: garment classes, the pictures of each, and figures of generated pictures."""
