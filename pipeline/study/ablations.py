"""Expand a model into the variants that measure its parts, as the model itself lists them."""

from typing import Any

import yaml

from pipeline.recommenders.registry import in_studies


def variants(base: str) -> dict[str, str]:
    """Map each variant of a model or variant to its name in tables; empty if the model lists none.

    A variant is written as on the command line, `modern+text=false`, so that naming it there is the same cell.
    """
    recommender = in_studies().get(base.partition("+")[0])
    if recommender is None:
        return {}
    return {"+".join([base, *map(_change, changes.items())]): name for name, changes in recommender.ablations().items()}


def _change(change: tuple[str, Any]) -> str:
    """Format `field=value` so that `entries.entry` reads the same value."""
    field, value = change
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=float("inf")).removesuffix("...\n").strip()
    return f"{field}={text.replace(', ', ',')}"
