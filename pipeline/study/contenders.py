"""The recommenders that a study compares and a search tunes: one list, a line each.

What each is and how it learns is `models/`; here stand its name, whose settings it takes and how it is called.
"""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pydantic
import torch
import yaml

from models.baselines import bpr as bprs
from models.baselines import simple as baselines
from models.baselines.settings import BprSettings
from models.data.dataset import Dataset
from models.data.factors import Factors
from models.dvbpr import objective as dvbpr
from models.dvbpr import state as dvbpr_state
from models.dvbpr.train import DvbprSettings, train
from models.modern import train as train_modern
from models.modern.settings import ModernSettings
from models.training import device as devices
from models.training.search import Space
from pipeline.core.dataset.triplets import TripletSettings
from pipeline.core.raw.sources import BadInput
from pipeline.home.storage import Storage
from pipeline.recommenders.learner import trunk_for
from pipeline.settings.launchpad import CONFIGS, SECTIONS
from pipeline.settings.method import Method
from pipeline.study import cornac_peer
from pipeline.study.data import ModeData
from pipeline.study.tuning_settings import SPACES


@dataclass(frozen=True)
class Step:
    """Where a training stands. `epoch` and `validation_auc` are set where an epoch ended."""

    done: int
    total: int
    note: str = ""
    epoch: int | None = None
    validation_auc: float | None = None


@dataclass(frozen=True)
class Task:
    """What one training is given. `folder` is its own, for checkpoints: empty, or as it left it when it was cut off."""

    data: ModeData
    triplets: TripletSettings
    seed: int
    folder: Path
    device: torch.device
    home: Path
    report: Callable[[Step], None] = lambda _: None

    def dataset(self, epochs: int | None = None) -> Dataset:
        """The arrays, with that many epochs of triplets where any are wanted."""
        if epochs is None:
            return self.data.dataset()
        return self.data.dataset(dataclasses.replace(self.triplets, epochs=epochs))


@dataclass(frozen=True)
class Fitted:
    """A trained model, and what its training says of itself."""

    factors: Factors
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """One recommender."""

    fit: Callable[[Task, Any], Fitted]
    op: str = ""  # the op whose section of a profile sets it; empty: nothing does
    settings: type | None = None
    preset: str = ""  # the method it follows, whatever the call's is; empty: the call's
    space: Space = field(default_factory=dict)  # what a search may turn; empty: nothing
    seeded: bool = True  # whether another seed is another model; if not, one seed is enough
    triplets: bool = False  # whether it trains on the triplet table
    epochs: bool = False  # whether it tells its validation AUC epoch by epoch, so that a search may stop it early
    estimate: Callable[[Task, Any], float] | None = None  # its seconds, measured on a few steps

    def config(self, values: dict[str, Any]) -> dict[str, Any]:
        """Settings as its op's config takes them: as they are, or in the section that they have there."""
        section = "" if self.settings is None else SECTIONS.get(self.settings, "")
        return {section: values} if section else values


def _dvbpr(task: Task, settings: DvbprSettings) -> Fitted:
    return _trained(train, settings, task, task.dataset(settings.epochs))


def _modern(task: Task, settings: ModernSettings) -> Fitted:
    trunk = trunk_for(settings, Storage(root=str(task.home)).features_size()) if settings.trunk_epochs else None
    return _trained(partial(train_modern.train, trunk=trunk), settings, task, task.dataset(), task.data.features)


def _trained(loop: Callable[..., Any], settings: Any, task: Task, *data: Any) -> Fitted:
    """Run one of the resumable loops of `models/`: (*data, settings, folder, device, on_progress) -> Trained."""

    def progress(now: Any) -> None:
        auc = now.metrics.get("validation_auc")
        task.report(Step(now.done, now.total, now.note, None if auc is None else int(now.metrics["epoch"]), auc))

    trained = loop(*data, settings, task.folder, task.device, progress)
    return Fitted(
        trained.factors,
        {"history": trained.history, "best_epoch": trained.best_epoch, "resumed_from": trained.resumed_from},
    )


def _dvbpr_seconds(task: Task, settings: DvbprSettings) -> float:
    """What a training of DVBPR will take: one step of its network is timed, after one to warm up."""
    triplets = dataclasses.replace(task.triplets, epochs=1)
    per_epoch = task.data.dataset(triplets).triplets_user.shape[1]
    cnn, theta = dvbpr_state.build(settings, len(task.data.arrays.users), task.device)
    adam = dvbpr.optimiser(
        cnn, theta, learning_rate=settings.learning_rate, betas=settings.betas, eps=settings.eps,
        weight_decay=settings.weight_decay,
    )  # fmt: skip
    side, pictures = settings.input_size, 1 + task.triplets.negatives_per_positive
    pixels = torch.zeros(settings.batch_size * pictures, 3, side, side, device=task.device)
    user = torch.zeros(settings.batch_size, dtype=torch.int64, device=task.device)
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        phi = cnn(pixels).float().unflatten(0, (len(user), -1))
        adam.zero_grad(set_to_none=True)
        float_loss = dvbpr.loss(theta[user], phi[:, 0], phi[:, 1:], settings.theta_decay)
        float_loss.backward()
        adam.step()
        float(float_loss.detach())  # waits for the device
        seconds = time.perf_counter() - started
    steps = -(-per_epoch // settings.batch_size)
    # Every epoch ends with Phi of all pictures, forward alone: a third of what they cost in training.
    embedding = len(task.data.arrays.image_item) / (settings.batch_size * pictures) * seconds / 3
    return settings.epochs * (steps * seconds + embedding) + embedding


def _bpr(fit: Callable[..., Factors], with_features: bool) -> Callable[[Task, BprSettings], Fitted]:
    def fitted(task: Task, settings: BprSettings) -> Fitted:
        grid: list[dict[str, Any]] = []

        def progress(now: bprs.Progress) -> None:
            grid.append({"setting": now.note, **now.metrics})
            task.report(Step(now.done, now.total, now.note))

        features = (task.data.features,) if with_features else ()
        return Fitted(fit(task.dataset(), *features, settings, on_progress=progress), {"grid": grid})

    return fitted


def _plain(fit: Callable[[Task], Factors]) -> Callable[[Task, None], Fitted]:
    return lambda task, _: Fitted(fit(task))


def _cornac(task: Task, settings: cornac_peer.CornacSettings) -> Fitted:
    factors, notes = cornac_peer.fit(
        task.dataset(), task.data.features, settings, task.seed, task.home, task.folder,
        lambda done, total, note: task.report(Step(done, total, note)),
    )  # fmt: skip
    return Fitted(factors, notes)


def _dvbpr_contender(preset: str = "") -> Contender:
    return Contender(
        _dvbpr,
        "dvbpr",
        DvbprSettings,
        preset,
        SPACES[preset or "dvbpr"],
        triplets=True,
        epochs=True,
        estimate=_dvbpr_seconds,
    )


CONTENDERS: dict[str, Contender] = {
    "random": Contender(_plain(lambda task: baselines.random(task.dataset(), seed=task.seed))),
    "popularity": Contender(_plain(lambda task: baselines.popularity(task.dataset())), seeded=False),
    "picture_count": Contender(_plain(lambda task: baselines.picture_count(task.dataset())), seeded=False),
    "visual_neighbours": Contender(
        _plain(lambda task: baselines.visual_neighbours(task.dataset(), task.data.features)), seeded=False
    ),
    "bpr_mf": Contender(_bpr(baselines.bpr_mf, False), "baselines", BprSettings, space=SPACES["bpr_mf"]),
    "vbpr": Contender(_bpr(baselines.vbpr, True), "baselines", BprSettings, space=SPACES["vbpr"]),
    "vbpr_visual": Contender(_bpr(baselines.vbpr_visual, True), "baselines", BprSettings, space=SPACES["vbpr_visual"]),
    "modern": Contender(_modern, "dvbpr", ModernSettings, space=SPACES["modern"], epochs=True),
    "cornac_vbpr": Contender(_cornac, settings=cornac_peer.CornacSettings),
    "cornac_vbpr_tuned": Contender(_cornac, settings=cornac_peer.TunedCornacSettings),
    "dvbpr": _dvbpr_contender(),
    "paper": _dvbpr_contender("paper"),
    "kang2017": _dvbpr_contender("kang2017"),
}


@dataclass(frozen=True)
class Entry:
    """A contender with its settings, as a study runs it: `label` is its name in folders and tables."""

    label: str
    contender: Contender
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
        if self.contender.triplets:
            triplets = dataclasses.asdict(self.triplets)
            del triplets["epochs"]  # as many as the settings have
            settings = {**settings, **{f"triplets.{name}": value for name, value in triplets.items()}}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


def entry(spec: str, method: Method) -> Entry:
    """The contender that `spec` names, set up: `vbpr`, or a variant of it, `vbpr+k=64+learning_rate=0.02`.

    Raises:
        BadInput: there is no such model or field, or the value does not fit; says what is allowed.
    """
    name, *changes = spec.split("+")
    if name not in CONTENDERS:
        raise BadInput(f"model {name!r} is unknown; there are: {', '.join(CONTENDERS)}.")
    found = CONTENDERS[name]
    followed = Method(preset=found.preset, profile=method.profile) if found.preset else method
    own, of_triplets = {}, {}
    fields = _fields(found)
    for change in changes:
        key, _, text = change.partition("=")
        op = "triplets" if key not in fields and found.triplets and key in CONFIGS["triplets"].model_fields else ""
        if not text or not (op or key in fields):
            fields += CONFIGS["triplets"].model_fields if found.triplets else []
            raise BadInput(f"model {spec!r}: {change!r} is no setting of it; give +field=value with one of: "
                           f"{', '.join(dict.fromkeys(fields)) or 'none, it has no settings'}.")  # fmt: skip
        (of_triplets if op == "triplets" else own)[key] = yaml.safe_load(text)
    return Entry(spec, found, settings_of(found, followed, own), _triplets_of(found, followed, of_triplets))


def _fields(contender: Contender) -> list[str]:
    """The names of its own settings; an op's Config may hold more, such as when it is trained again."""
    own = () if contender.settings is None else dataclasses.fields(contender.settings)  # ty: ignore[invalid-argument-type]
    return [field.name for field in own]


def settings_of(contender: Contender, method: Method, changes: dict[str, Any]) -> Any:
    """A contender's settings: preset, profile, then `changes`. Raises BadInput where they do not fit."""
    if contender.settings is None:
        return None
    if not contender.op:
        try:
            return contender.settings(**changes)
        except (TypeError, ValueError) as error:
            raise BadInput(str(error)) from error
    try:
        config = CONFIGS[contender.op](**contender.config(changes))
    except (pydantic.ValidationError, ValueError) as error:
        problem = error.errors()[0]["msg"] if isinstance(error, pydantic.ValidationError) else str(error)
        raise BadInput(f"{contender.op}: {changes}: {problem}.") from error
    return method.settings(contender.settings, contender.op, config)


def _triplets_of(contender: Contender, method: Method, changes: dict[str, Any]) -> TripletSettings:
    if not contender.triplets:
        return TripletSettings()
    return method.settings(TripletSettings, "triplets", CONFIGS["triplets"](**changes))


def describe(device: torch.device) -> str:
    """The device in words."""
    return devices.describe(device)
