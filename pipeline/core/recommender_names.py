"""What the recommenders of an image mode are called in tables and manifests; what each is, stands in `models/`."""

from collections.abc import Iterable

DVBPR, MODERN = "dvbpr", "modern"  # from pixels, and on frozen features; `modern` is a preset's name too
NAMES = (DVBPR, MODERN)


def name_of(models: Iterable[str]) -> str:
    """Which of a mode's models is its recommender, the one that the others are held against."""
    return MODERN if MODERN in set(models) else DVBPR
