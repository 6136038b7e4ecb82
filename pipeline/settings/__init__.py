"""Settings: one table of ops and their settings classes, presets, profiles. No values are computed with here."""
