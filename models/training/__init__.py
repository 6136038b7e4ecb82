"""Tools that every trainer shares: the clock, checkpoints, devices, ranks, search spaces. No model is known here."""
