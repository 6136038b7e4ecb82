"""Tools that all trainers share: progress, checkpoints, devices, ranks, search spaces. They know no model."""
