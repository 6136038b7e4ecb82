"""Networks, losses, training loops, searches and metrics: torch, torchvision and numpy alone."""
