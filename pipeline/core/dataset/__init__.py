"""From tables to what trains: the k-core, what survives, splits, catalogue and triplets."""
