"""How the tables and pictures of a shop are laid out: which column means what, and where the pictures are."""
