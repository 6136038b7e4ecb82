"""From the shop's raw files to typed tables: where they come from, how lines are framed, parsed, accepted, rejected."""
