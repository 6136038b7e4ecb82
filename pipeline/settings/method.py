"""The method of a run: a resource that combines preset, profile and launchpad config into settings.

There are three layers; a later one overrides an earlier one: the preset (the published method), the profile (what this
kind of run changes), and the fields set on the asset. Every asset reads its settings here.
"""

import dataclasses
import functools
from typing import Any, TypeVar

import dagster as dg
import pydantic

from pipeline.core.errors import InputError
from pipeline.recommenders.contract import Recommender
from pipeline.recommenders.registry import main, of_preset
from pipeline.settings import profiles
from pipeline.settings.ops import OPS
from pipeline.settings.presets import FALLBACK, PRESET_NAMES, PRESETS

Settings = TypeVar("Settings")


class Method(dg.ConfigurableResource):
    """The preset that a run follows, and the profile that changes it."""

    preset: str = ""  # paper, kang2017 or modern; empty: the preset of the profile, else paper
    with_recommenders: list[str] = pydantic.Field([])  # main recommenders to train besides those of preset and profile
    profile: str = ""  # a name in pipeline/settings/profiles, or a path to a YAML file; empty: none

    def chosen_profile(self) -> profiles.Profile:
        """Load the profile; an empty one if none is set. Raises InputError if it is invalid."""
        return _load(self.profile) if self.profile else profiles.Profile()

    def chosen_preset(self) -> str:
        """Return the preset's name.

        Raises:
            InputError: there is no such preset.
        """
        preset = self.preset or self.chosen_profile().preset
        if preset not in PRESET_NAMES:
            raise InputError(f"preset {preset!r} is unknown; allowed: {', '.join(PRESET_NAMES)}.")
        return preset

    def recommenders(self) -> list[Recommender]:
        """List the main recommenders to train: the preset's own, and those that run and profile add.

        Raises:
            InputError: one of them is no main recommender.
        """
        added = {*self.with_recommenders, *self.chosen_profile().with_recommenders}
        if unknown := sorted(added - {one.name for one in main()}):
            known = ", ".join(one.name for one in main())
            raise InputError(f"with_recommenders: {', '.join(unknown)} is no main recommender; there are: {known}.")
        return [one for one in main() if one is of_preset(self.chosen_preset()) or one.name in added]

    def leaves_out(self, asset: str) -> bool:
        """Return whether this method skips an asset: a main recommender that it does not train."""
        used = self.recommenders()
        return any(asset == one.op for one in main() if one not in used)

    def check(self) -> None:
        """Make the settings of every op and find the recommenders, so that invalid values are found before any work.

        Raises:
            InputError: a value is invalid; the message names profile, op and field.
        """
        self.recommenders()
        for op, classes in OPS.items():
            for cls in classes:
                try:
                    self.settings(cls, op)
                except InputError as error:
                    where = f"profile {self.profile}: " if self.profile else ""
                    raise InputError(f"{where}{error}") from error

    def settings(self, cls: type[Settings], op: str, config: dg.Config | None = None) -> Settings:
        """Make the settings of one op.

        Args:
            cls: the settings dataclass.
            op: the op whose section of the profile applies.
            config: the fields set on the asset.

        Raises:
            InputError: a value is invalid, or values contradict each other.
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
