"""Profiles: run configs in YAML, one per kind of run, and the code that reads and checks them.

A profile holds no code and no secret. It sets only the values that differ. Help and defaults are in the settings
classes, which `pipeline/settings/ops.py` lists by op.
"""

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pydantic
import yaml

from pipeline.core.errors import InputError
from pipeline.recommenders.registry import main
from pipeline.settings.launchpad import CONFIGS
from pipeline.settings.presets import PRESET_NAMES

FOLDER = Path(__file__).parent
ALIASES = {"modern": "gpu"}  # former name -> profile


@dataclass(frozen=True)
class Profile:
    """A profile: its name, its preset and its values by op."""

    name: str = ""
    preset: str = "paper"
    with_recommenders: tuple[str, ...] = ()  # main recommenders to train besides the preset's own
    ops: dict[str, dict[str, Any]] = field(default_factory=dict)


def names() -> list[str]:
    """List the profiles that come with Atelier."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str) -> Profile:
    """Read a profile by name, or from a path that ends in .yaml.

    Raises:
        InputError: there is no such profile, or a key or value is invalid; the message says what is allowed.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{ALIASES.get(name, name)}.yaml"
    if not path.is_file():
        raise InputError(f"profile {name!r}: no such file as {path}. There are: {', '.join(names())}.")
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {error}") from error
    _allow(path, "", content, {"resources", "ops"})
    resources = content.get("resources") or {}
    _allow(path, "resources", resources, {"method"})
    resource = resources.get("method") or {}
    _allow(path, "resources.method", resource, {"config"})
    method = resource.get("config") or {}
    if isinstance(method, dict) and "profile" in method:
        raise InputError(
            f"{path}: resources.method.config.profile is {method['profile']!r}, but a profile replaces another and "
            f"cannot add to it. Copy that profile's values into this file (from {FOLDER}) and remove the key."
        )
    _allow(path, "resources.method.config", method, {"preset", "with_recommenders"})
    preset = method.get("preset", "paper")
    if preset not in PRESET_NAMES:
        raise InputError(f"{path}: resources.method.config.preset is {preset!r}; allowed: {', '.join(PRESET_NAMES)}.")
    added = method.get("with_recommenders") or []
    known = [one.name for one in main()]
    if not isinstance(added, list) or set(map(str, added)) - set(known):
        raise InputError(
            f"{path}: resources.method.config.with_recommenders is {added!r}; allowed: a list of {', '.join(known)}."
        )
    ops = content.get("ops") or {}
    _allow(path, "ops", ops, set(CONFIGS))
    checked = {}
    for op, section in ops.items():
        _allow(path, f"ops.{op}", section, {"config"})
        checked[op] = _checked(path, f"ops.{op}.config", CONFIGS[op], section.get("config") or {})
    return Profile(path.stem, preset, tuple(added), checked)


def _allow(path: Path, where: str, content: Any, allowed: set[str]) -> None:
    if not isinstance(content, dict):
        raise InputError(f"{path}: {where or 'the file'} must be a mapping, not {type(content).__name__}.")
    for key in content:
        if key not in allowed:
            place = f"{where}.{key}" if where else str(key)
            raise InputError(f"{path}: unknown key {place}; allowed: {', '.join(sorted(allowed))}.")


def _checked(path: Path, where: str, config: type[dg.Config], values: dict[str, Any]) -> dict[str, Any]:
    _allow(path, where, values, set(config.model_fields))
    checked = {}
    for key, value in values.items():
        # YAML makes a date of text like 2017-12-01 unless it is in quotes.
        given = value.isoformat() if isinstance(value, date) else value
        try:
            checked[key] = getattr(config(**{key: given}), key)
        except (pydantic.ValidationError, dg.DagsterInvalidConfigError, ValueError) as error:
            problem = error.errors()[0]["msg"] if isinstance(error, pydantic.ValidationError) else str(error)
            raise InputError(f"{path}: {where}.{key} is {value!r}: {problem}.") from error
    return checked
