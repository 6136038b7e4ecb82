"""The method of a run: one resource that turns preset, profile and launchpad config into settings.

Three layers, the later wins: the preset (the published method), the profile (what this kind of run changes), the
fields set on the asset itself. Sampling, networks, epochs and designs all belong to the method, so all read it here.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, TypeVar

import dagster as dg

from pipeline.core.raw.sources import BadInput
from pipeline.settings import profiles
from pipeline.settings.launchpad import FALLBACK, OP_SETTINGS, PRESET_NAMES, PRESETS, SECTIONS

Settings = TypeVar("Settings")


class Method(dg.ConfigurableResource):
    """Which published method a run follows, and which profile narrows or widens it."""

    preset: str = ""  # paper, kang2017 or modern; empty: the profile's, else paper
    profile: str = ""  # a name in pipeline/profiles; empty: none

    def chosen_profile(self) -> profiles.Profile:
        """The profile read and checked."""
        return _load(self.profile) if self.profile else profiles.Profile()

    def chosen_preset(self) -> str:
        """The preset's name.

        Raises:
            BadInput: it is not one of the presets.
        """
        preset = self.preset or self.chosen_profile().preset
        if preset not in PRESET_NAMES:
            raise BadInput(f"preset {preset!r} is unknown; allowed: {', '.join(PRESET_NAMES)}.")
        return preset

    def check(self) -> None:
        """Make every stage's settings once, so that a wrong value is found before any work.

        Raises:
            BadInput: as `settings` does; names profile, op and field.
        """
        for op, classes in OP_SETTINGS.items():
            for cls in classes:
                try:
                    self.settings(cls, op)
                except BadInput as error:
                    where = f"profile {self.profile}: " if self.profile else ""
                    raise BadInput(f"{where}{error}") from error

    def settings(self, cls: type[Settings], op: str, config: dg.Config | None = None) -> Settings:
        """The settings of one stage.

        Args:
            cls: the settings dataclass.
            op: the op whose section of the profile counts.
            config: what was set on the asset itself.

        Raises:
            BadInput: the values do not fit together.
        """
        presets = PRESETS.get(cls)
        base: Any = cls() if presets is None else presets.get(self.chosen_preset(), presets[FALLBACK])
        fields = {f.name: f for f in dataclasses.fields(base)}
        explicit = {} if config is None else config.model_dump()
        changes = {**_section(cls, self.chosen_profile().ops.get(op, {})), **_section(cls, explicit)}
        changes = {k: tuple(v) if isinstance(v, list) else v for k, v in changes.items() if k in fields}
        try:
            return dataclasses.replace(base, **changes)
        except (ValueError, TypeError) as error:
            raise BadInput(f"{op}: {error}") from error


def _section(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """What of an op's config is meant for these settings; what was not set is not in it."""
    own = values.get(SECTIONS[cls]) or {} if cls in SECTIONS else values
    own = own.model_dump() if isinstance(own, dg.Config) else own
    return {name: value for name, value in own.items() if value is not None}


@functools.cache
def _load(name: str) -> profiles.Profile:
    return profiles.load(name)
