"""What holds for all tests: properties have no deadline, since a noisy machine is no failure."""

from hypothesis import settings

settings.register_profile("atelier", deadline=None)
settings.load_profile("atelier")
