"""What a generator learns from: garment classes, pictures of each, colours."""
