"""What an augmentation policy is written like: names of changes, comma-separated; "" is none.

The settings check theirs by this; what each change does to a picture is `augment.py`.
"""

CHANGES = ("color", "translation", "cutout", "mirror", "crop")


def changes_of(policy: str) -> list[str]:
    """The names in a policy, in their order."""
    return [name.strip() for name in policy.split(",") if name.strip()]


def check_policy(policy: str) -> None:
    """Raise ValueError for a policy that is not a comma-separated choice of the known changes ("" is none)."""
    unknown = [name for name in changes_of(policy) if name not in CHANGES]
    if unknown:
        raise ValueError(f"augment names {', '.join(unknown)}; allowed, comma-separated: {', '.join(CHANGES)}")
