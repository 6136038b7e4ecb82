"""Parse and check augmentation policies: comma-separated names of changes, "" for none.

Settings check their values with this module, so it must not import torch.
"""

CHANGES = ("color", "translation", "cutout", "mirror", "crop")


def changes_of(policy: str) -> list[str]:
    """List the names in a policy, in order."""
    return [name.strip() for name in policy.split(",") if name.strip()]


def check_policy(policy: str) -> None:
    """Raise ValueError unless the policy is a comma-separated list of known changes ("" is none)."""
    unknown = [name for name in changes_of(policy) if name not in CHANGES]
    if unknown:
        raise ValueError(f"augment names {', '.join(unknown)}; allowed, comma-separated: {', '.join(CHANGES)}")
