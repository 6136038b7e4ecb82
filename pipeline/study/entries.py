"""Parse the models named on a study's command line, and train them."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pydantic
import torch
import yaml

from models.training import device as devices
from pipeline.core.dataset.triplets import TripletSettings
from pipeline.core.errors import InputError
from pipeline.home.storage import Storage
from pipeline.recommenders.contract import FACTS, FEATURES, TRIPLETS, FitContext, FitProgress, Fitted, Recommender
from pipeline.recommenders.registry import in_studies
from pipeline.settings.launchpad import CONFIGS
from pipeline.settings.method import Method
from pipeline.study.data import ModeData


@dataclass(frozen=True)
class Task:
    """The data and circumstances of one training.

    `folder` is for its checkpoints alone: empty, or as an interrupted run left it.
    """

    data: ModeData
    triplets: TripletSettings
    seed: int
    folder: Path
    device: torch.device
    home: Path
    report: Callable[[FitProgress], None] = lambda _: None

    def context(self, recommender: Recommender, settings: Any, epochs: int | None = None) -> FitContext:
        """Collect what the recommender needs, with triplets for `epochs` epochs (default: those of the settings)."""
        triplets = None
        if recommender.reads(TRIPLETS):
            triplets = dataclasses.replace(self.triplets, epochs=epochs or settings.epochs)
        features = recommender.reads(FEATURES)
        return FitContext(
            data=self.data.dataset(triplets),
            features=self.data.features if features else None,
            feature_size=Storage(root=str(self.home)).features_size() if recommender.needs_feature_size else 0,
            folder=self.folder,
            device=self.device,
            seed=self.seed,
            home=self.home,
            facts=self.data.facts if recommender.reads(FACTS) else None,
            held_out_later=_held_out_later(self.data.splits),
            report=self.report,
        )

    def fit(self, entry: "Entry") -> Fitted:
        """Train the entry."""
        return entry.recommender.fit(self.context(entry.recommender, entry.settings), entry.settings)

    def seconds(self, entry: "Entry") -> float | None:
        """Estimate how many seconds training the entry takes; None if the recommender cannot be measured."""
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
        """Return a copy whose weights, draws and triplets use another seed."""
        settings = self.settings
        if settings is not None and any(f.name == "seed" for f in dataclasses.fields(settings)):
            settings = dataclasses.replace(settings, seed=seed)
        return dataclasses.replace(self, settings=settings, triplets=dataclasses.replace(self.triplets, seed=seed))

    def plain(self) -> dict[str, Any]:
        """Return the settings that the recommender uses, as plain values."""
        settings = {} if self.settings is None else dataclasses.asdict(self.settings)
        if self.recommender.reads(TRIPLETS):
            triplets = dataclasses.asdict(self.triplets)
            del triplets["epochs"]  # repeats the epochs of the settings
            settings = {**settings, **{f"triplets.{name}": value for name, value in triplets.items()}}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


def entry(spec: str, method: Method) -> Entry:
    """Set up the recommender named in `spec`: `NAME`, or a variant such as `NAME+k=64+learning_rate=0.02`.

    Raises:
        InputError: the model or field is unknown, or the value is invalid; the message lists what is allowed.
    """
    name, *changes = spec.split("+")
    known = in_studies()
    if name not in known:
        raise InputError(f"model {name!r} is unknown; there are: {', '.join(known)}.")
    recommender = known[name]
    followed = Method(preset=recommender.preset, profile=method.profile) if recommender.preset else method
    own, of_triplets = {}, {}
    fields = _fields(recommender)
    for change in changes:
        key, _, text = change.partition("=")
        op = (
            "triplets"
            if key not in fields and recommender.reads(TRIPLETS) and key in CONFIGS["triplets"].model_fields
            else ""
        )
        if not text or not (op or key in fields):
            fields += CONFIGS["triplets"].model_fields if recommender.reads(TRIPLETS) else []
            raise InputError(f"model {spec!r}: {change!r} is no setting of it; give +field=value with one of: "
                           f"{', '.join(dict.fromkeys(fields)) or 'none, it has no settings'}.")  # fmt: skip
        (of_triplets if op == "triplets" else own)[key] = yaml.safe_load(text)
    settings = settings_of(recommender, followed, own)
    return Entry(spec, recommender, settings, _triplets_of(recommender, followed, of_triplets))


def _fields(recommender: Recommender) -> list[str]:
    """List the recommender's own settings; the Config of its op may have more, such as when to train it again."""
    own = () if recommender.settings_class is None else dataclasses.fields(recommender.settings_class)  # ty: ignore[invalid-argument-type]
    return [field.name for field in own]


def settings_of(recommender: Recommender, method: Method, changes: dict[str, Any]) -> Any:
    """Build a recommender's settings: preset, then profile, then `changes`. Raises InputError if they are invalid."""
    if recommender.settings_class is None:
        return None
    if not recommender.op:
        try:
            return recommender.settings_class(**changes)
        except (TypeError, ValueError) as error:
            raise InputError(str(error)) from error
    try:
        config = CONFIGS[recommender.op](**changes)
    except (pydantic.ValidationError, ValueError) as error:
        problem = error.errors()[0]["msg"] if isinstance(error, pydantic.ValidationError) else str(error)
        raise InputError(f"{recommender.op}: {changes}: {problem}.") from error
    return method.settings(recommender.settings_class, recommender.op, config)


def _held_out_later(splits: pa.Table) -> bool:
    """Return whether every held-out row of SPLITS is later than every train row; False where a time is unknown."""
    held_out = pc.not_equal(splits["split"], "train")
    train, held = splits.filter(pc.invert(held_out))["time"], splits.filter(held_out)["time"]
    known = len(train) and len(held) and not train.null_count and not held.null_count
    return bool(known) and pc.max(train).as_py() < pc.min(held).as_py()


def _triplets_of(recommender: Recommender, method: Method, changes: dict[str, Any]) -> TripletSettings:
    if not recommender.reads(TRIPLETS):
        return TripletSettings()
    return method.settings(TripletSettings, "triplets", CONFIGS["triplets"](**changes))


def describe(device: torch.device) -> str:
    """Return the device in words."""
    return devices.describe(device)
