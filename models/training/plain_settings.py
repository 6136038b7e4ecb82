"""What settings dataclasses share: reading them back from a checkpoint. Fields and presets belong to each model."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(frozen=True)
class PlainSettings:
    """A settings dataclass whose `plain` values can be read back."""

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild settings from the dict that `plain` returned. A missing field gets its default."""
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})
