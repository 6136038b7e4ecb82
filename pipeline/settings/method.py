"""The method of a run: one resource that turns preset, profile and launchpad config into settings.

Three layers, the later wins: the preset (the published method), the profile (what this kind of run changes), the
fields set on the asset itself. Sampling, networks, epochs and designs all belong to the method, so all read it here.
"""

import dataclasses
import functools
from typing import Any, TypeVar

import dagster as dg

from pipeline.core.errors import InputError
from pipeline.recommenders.registry import main, of_preset
from pipeline.settings import profiles
from pipeline.settings.ops import OPS
from pipeline.settings.presets import FALLBACK, PRESET_NAMES, PRESETS

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
            InputError: it is not one of the presets.
        """
        preset = self.preset or self.chosen_profile().preset
        if preset not in PRESET_NAMES:
            raise InputError(f"preset {preset!r} is unknown; allowed: {', '.join(PRESET_NAMES)}.")
        return preset

    def leaves_out(self, asset: str) -> bool:
        """Whether this method does not use an asset: the main recommender of other presets."""
        used = of_preset(self.chosen_preset())
        return any(asset == one.op for one in main() if one is not used)

    def check(self) -> None:
        """Make every stage's settings once, so that a wrong value is found before any work.

        Raises:
            InputError: as `settings` does; names profile, op and field.
        """
        for op, classes in OPS.items():
            for cls in classes:
                try:
                    self.settings(cls, op)
                except InputError as error:
                    where = f"profile {self.profile}: " if self.profile else ""
                    raise InputError(f"{where}{error}") from error

    def settings(self, cls: type[Settings], op: str, config: dg.Config | None = None) -> Settings:
        """The settings of one stage.

        Args:
            cls: the settings dataclass.
            op: the op whose section of the profile counts.
            config: what was set on the asset itself.

        Raises:
            InputError: the values do not fit together.
        """
        presets = PRESETS.get(cls)
        base: Any = cls() if presets is None else presets.get(self.chosen_preset(), presets[FALLBACK])
        fields = {f.name: f for f in dataclasses.fields(base)}
        explicit = {} if config is None else config.model_dump()
        layers = {**self.chosen_profile().ops.get(op, {}), **{k: v for k, v in explicit.items() if v is not None}}
        changes = {
            k: tuple(v) if isinstance(v, list) else v for k, v in layers.items() if k in fields and v is not None
        }
        try:
            return dataclasses.replace(base, **changes)
        except (ValueError, TypeError) as error:
            raise InputError(f"{op}: {error}") from error


@functools.cache
def _load(name: str) -> profiles.Profile:
    return profiles.load(name)
