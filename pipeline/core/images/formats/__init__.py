"""What bytes say of the picture they hold, one module a format: no decoder runs here, every walk is bounded."""
