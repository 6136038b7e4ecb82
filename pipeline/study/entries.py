"""What a study or a search trains: a recommender with its settings, named as on the command line."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import torch
import yaml

from models.training import device as devices
from pipeline.core.dataset.triplets import TripletSettings
from pipeline.core.raw.sources import BadInput
from pipeline.home.storage import Storage
from pipeline.recommenders.contract import FEATURES, TRIPLETS, FitContext, Fitted, Recommender, Step
from pipeline.recommenders.registry import in_studies
from pipeline.settings.launchpad import CONFIGS
from pipeline.settings.method import Method
from pipeline.study.data import ModeData


@dataclass(frozen=True)
class Task:
    """Where one training happens. `folder` is its own, for checkpoints: empty, or as an interrupted run left it."""

    data: ModeData
    triplets: TripletSettings
    seed: int
    folder: Path
    device: torch.device
    home: Path
    report: Callable[[Step], None] = lambda _: None

    def context(self, recommender: Recommender, settings: Any, epochs: int | None = None) -> FitContext:
        """Collect what the recommender needs; `epochs` of triplets, by default as many as the settings train."""
        triplets = None
        if recommender.reads(TRIPLETS):
            triplets = dataclasses.replace(self.triplets, epochs=epochs or settings.epochs)
        features = recommender.reads(FEATURES)
        return FitContext(
            data=self.data.dataset(triplets),
            features=self.data.features if features else None,
            feature_size=Storage(root=str(self.home)).features_size() if features else 0,
            folder=self.folder,
            device=self.device,
            seed=self.seed,
            home=self.home,
            report=self.report,
        )

    def fit(self, entry: "Entry") -> Fitted:
        """Train the entry."""
        return entry.recommender.fit(self.context(entry.recommender, entry.settings), entry.settings)

    def seconds(self, entry: "Entry") -> float | None:
        """Estimate the entry's seconds; None where nothing is measured."""
        context = self.context(entry.recommender, entry.settings, epochs=1)
        return entry.recommender.seconds(context, entry.settings)


@dataclass(frozen=True)
class Entry:
    """A recommender with its settings; `label` is its name in folders and tables."""

    label: str
    recommender: Recommender
    settings: Any
    triplets: TripletSettings

    def seeded(self, seed: int) -> "Entry":
        """The same under another seed: of its weights, of its draws, of its triplets."""
        settings = self.settings
        if settings is not None and any(f.name == "seed" for f in dataclasses.fields(settings)):
            settings = dataclasses.replace(settings, seed=seed)
        return dataclasses.replace(self, settings=settings, triplets=dataclasses.replace(self.triplets, seed=seed))

    def plain(self) -> dict[str, Any]:
        """The settings that matter to it, as plain values."""
        settings = {} if self.settings is None else dataclasses.asdict(self.settings)
        if self.recommender.reads(TRIPLETS):
            triplets = dataclasses.asdict(self.triplets)
            del triplets["epochs"]  # as many as the settings have
            settings = {**settings, **{f"triplets.{name}": value for name, value in triplets.items()}}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


def entry(spec: str, method: Method) -> Entry:
    """Set up the recommender that `spec` names: `NAME`, or a variant of it, `NAME+k=64+learning_rate=0.02`.

    Raises:
        BadInput: there is no such model or field, or the value does not fit; says what is allowed.
    """
    name, *changes = spec.split("+")
    known = in_studies()
    if name not in known:
        raise BadInput(f"model {name!r} is unknown; there are: {', '.join(known)}.")
    found = known[name]
    followed = Method(preset=found.preset, profile=method.profile) if found.preset else method
    own, of_triplets = {}, {}
    fields = _fields(found)
    for change in changes:
        key, _, text = change.partition("=")
        op = (
            "triplets"
            if key not in fields and found.reads(TRIPLETS) and key in CONFIGS["triplets"].model_fields
            else ""
        )
        if not text or not (op or key in fields):
            fields += CONFIGS["triplets"].model_fields if found.reads(TRIPLETS) else []
            raise BadInput(f"model {spec!r}: {change!r} is no setting of it; give +field=value with one of: "
                           f"{', '.join(dict.fromkeys(fields)) or 'none, it has no settings'}.")  # fmt: skip
        (of_triplets if op == "triplets" else own)[key] = yaml.safe_load(text)
    return Entry(spec, found, settings_of(found, followed, own), _triplets_of(found, followed, of_triplets))


def _fields(recommender: Recommender) -> list[str]:
    """The names of its own settings; an op's Config may hold more, such as when it is trained again."""
    own = () if recommender.settings_class is None else dataclasses.fields(recommender.settings_class)  # ty: ignore[invalid-argument-type]
    return [field.name for field in own]


def settings_of(recommender: Recommender, method: Method, changes: dict[str, Any]) -> Any:
    """Make a recommender's settings: preset, profile, then `changes`. Raises BadInput where they do not fit."""
    if recommender.settings_class is None:
        return None
    if not recommender.op:
        try:
            return recommender.settings_class(**changes)
        except (TypeError, ValueError) as error:
            raise BadInput(str(error)) from error
    try:
        config = CONFIGS[recommender.op](**changes)
    except (pydantic.ValidationError, ValueError) as error:
        problem = error.errors()[0]["msg"] if isinstance(error, pydantic.ValidationError) else str(error)
        raise BadInput(f"{recommender.op}: {changes}: {problem}.") from error
    return method.settings(recommender.settings_class, recommender.op, config)


def _triplets_of(recommender: Recommender, method: Method, changes: dict[str, Any]) -> TripletSettings:
    if not recommender.reads(TRIPLETS):
        return TripletSettings()
    return method.settings(TripletSettings, "triplets", CONFIGS["triplets"](**changes))


def describe(device: torch.device) -> str:
    """The device in words."""
    return devices.describe(device)
