"""Dagster Config classes made from the settings dataclasses, so that the launchpad shows and checks every setting.

The dataclasses define names, types, defaults and help texts. Every field of a Config is optional: a field that is not
set comes from the run's profile, then from the preset.
"""

import dataclasses
import functools
import types
import typing
from typing import Annotated, Any

import dagster as dg
import pydantic
from typing_extensions import Doc

from models.lsgan.settings import LsganSettings
from pipeline.settings.ops import OPS
from pipeline.settings.presets import describe_default

# Fields that environment variables set, or the place of the tables, not a run.
FROM_ENVIRONMENT = {"allow_hosts", "device", "picture_folders", "retry_urls"}
# (settings class, field) that the data sets: the number of garment classes.
FROM_DATA = {(LsganSettings, "classes")}


def help_texts(settings: type) -> dict[str, str]:
    """Read the `Doc` text of each field of a settings dataclass, by field name."""
    return {name: text for name, (_, text) in _annotations(settings).items()}


def _annotations(settings: type) -> dict[str, tuple[Any, str]]:
    """Read each field's type without `Annotated`, and its `Doc` text. Raises TypeError naming a field without one."""
    found = {}
    for name, hint in typing.get_type_hints(settings, include_extras=True).items():
        type_, *extras = typing.get_args(hint) if typing.get_origin(hint) is Annotated else (hint,)
        texts = [extra.documentation for extra in extras if isinstance(extra, Doc)]
        if not texts:
            raise TypeError(f'{settings.__name__}.{name} has no help: annotate it as Annotated[type, Doc("...")]')
        found[name] = (type_, texts[0])
    return found


def _config_type(annotation: Any) -> Any:
    """Convert a dataclass field's type to one that Dagster's config accepts: tuples to lists, `T | None` to T."""
    if typing.get_origin(annotation) is typing.Literal:
        return type(typing.get_args(annotation)[0])
    arguments = [a for a in typing.get_args(annotation) if a is not types.NoneType]
    if typing.get_origin(annotation) in (tuple, list):
        return list[arguments[0]]  # ty: ignore[invalid-type-form]
    return _config_type(arguments[0]) if arguments else annotation


@functools.cache
def config_of(*settings: type) -> type[dg.Config]:
    """Make a Dagster Config with every field of the settings dataclasses, each optional.

    Raises:
        TypeError: two of them share a field name, or a field has no help.
    """
    fields: dict[str, Any] = {}
    for cls in settings:
        annotations = _annotations(cls)
        for field in dataclasses.fields(cls):  # ty: ignore[invalid-argument-type]
            if field.name in FROM_ENVIRONMENT or (cls, field.name) in FROM_DATA:
                continue
            if field.name in fields:
                raise TypeError(f"{field.name} is a setting of two of {[s.__name__ for s in settings]}")
            type_, text = annotations[field.name]
            description = f"{text} When not set: the profile's value, else {describe_default(cls, field.name)}."
            fields[field.name] = (_config_type(type_) | None, pydantic.Field(None, description=description))
    return pydantic.create_model("+".join(s.__name__ for s in settings), __base__=dg.Config, **fields)


# op -> its Config, which is also what a profile's `ops` section may set.
CONFIGS: dict[str, type[dg.Config]] = {op: config_of(*settings) for op, settings in OPS.items()}


# The Config classes that assets name in their annotations.
class IngestConfig(CONFIGS["ingest"]):
    """Ingest."""


class FiveCoreConfig(CONFIGS["five_core"]):
    """The 5-core."""


class ImageUrlsConfig(CONFIGS["image_urls"]):
    """Addresses of the pictures to fetch."""


class ImageLedgerConfig(CONFIGS["image_ledger"]):
    """Fetching pictures."""


class ImageBankConfig(CONFIGS["image_bank"]):
    """Decoding pictures."""


class NearDuplicatesConfig(CONFIGS["near_duplicates"]):
    """Thresholds for near-duplicates."""


class ImageFeaturesConfig(CONFIGS["image_features"]):
    """Frozen features."""


class ItemFactsConfig(CONFIGS["item_facts"]):
    """Text features and categories of items."""


class SplitsConfig(CONFIGS["splits"]):
    """The hold-out."""


class TripletsConfig(CONFIGS["triplets"]):
    """Triplet sampling."""


class ModernConfig(CONFIGS["modern"]):
    """The recommender of preset `modern`, on frozen features."""


class DvbprConfig(CONFIGS["dvbpr"]):
    """DVBPR, from pixels."""


class BaselinesConfig(CONFIGS["baselines"]):
    """Baselines."""


class EvaluationConfig(CONFIGS["recommender_evaluation"]):
    """Ranking metrics."""


class ChampionConfig(CONFIGS["recommender_champion"]):
    """Choice of the recommender's champion."""


class GeneratorChampionConfig(CONFIGS["generator_champion"]):
    """Choice of the generator's champion."""


class RecommendationsConfig(CONFIGS["recommendations"]):
    """Recommendations."""


class GarmentsConfig(CONFIGS["garments"]):
    """The generator's pictures."""


class LsganConfig(CONFIGS["lsgan"]):
    """The LSGAN."""


class GenerationMetricsConfig(CONFIGS["generator_evaluation"]):
    """The generator's metrics."""


class DesignsConfig(CONFIGS["personal_designs"]):
    """Preference maximisation."""


class DesignTradeoffConfig(CONFIGS["designs_tradeoff"]):
    """The trade-off between preference and realism."""


class LookbookConfig(CONFIGS["lookbook"]):
    """The lookbook."""
