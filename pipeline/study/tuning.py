"""Search the settings of one model on one image mode with Optuna, by one figure on validation alone.

A search is seeded and stored in SQLite in the home: an interrupted one continues, with the same result. It uses test
pairs only to exclude their items from the candidates.
"""

import dataclasses
import shutil
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml

from models.metrics import selection
from models.training.search import Choice, Space, Span
from pipeline.core.durable import sole_writer, write_whole
from pipeline.core.errors import InputError
from pipeline.home.storage import digest
from pipeline.recommenders.contract import FitProgress, Recommender
from pipeline.recommenders.registry import in_studies
from pipeline.runtime.tracking import Tracker
from pipeline.settings.method import Method
from pipeline.study.data import ModeData
from pipeline.study.entries import Entry, Task, entry, settings_of
from pipeline.study.tuning_settings import TuningSettings

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class SearchResult:
    """The result of a search."""

    model: str
    mode: str
    op: str
    best: dict[str, Any]  # field -> value
    selected_by: str  # figure on validation that decides: `models/metrics/selection.py`
    value: float  # of that figure
    start_value: float | None  # of the settings before the search; None if that trial was pruned
    trials: int
    pruned: int
    file: Path
    mlflow_run: str


@dataclass(frozen=True)
class Place:
    """Where a search runs, and how it reports."""

    home: Path
    device: torch.device
    tracker: Tracker
    dagster_run: str = ""
    say: Callable[[str], object] = lambda _: None

    @property
    def folder(self) -> Path:
        """Return the folder of all searches."""
        return self.home / "tuning"


def search(model: str, data: ModeData, method: Method, settings: TuningSettings, place: Place) -> SearchResult:
    """Start or continue a search, and write the best settings as a piece of run config.

    A change of the data, the space, the seed, the starting settings or the figure that decides starts a new search.

    Raises:
        BlockingIOError: another process is searching in this home.
    """
    start = entry(model, method).seeded(settings.seed)
    space = start.recommender.space
    decides = selection.name_of(len(data.arrays.pairs["validation"]))
    name = f"{model}[{data.mode}]-{digest(start.plain(), _plain(space), data.inputs, settings.seed, decides)}"
    with sole_writer(place.folder), _study(place.folder / "optuna.db", name, settings) as study:
        first = {field: getattr(start.settings, field) for field in space if _in_range(space[field], start, field)}
        study.enqueue_trial(first, skip_if_exists=True)
        with place.tracker.parent(name, place.dagster_run, model=model, image_mode=data.mode) as parent:
            parent.parameters(start.plain(), space=_plain(space), seed=settings.seed, **data.inputs)
            path = place.folder / model / f"{data.mode}.yaml"
            while (number := len(_ended(study))) < settings.trials:
                study.sampler = _sampler(settings, number)
                with place.tracker.child(parent, f"trial {number}", number) as run:
                    value, summary = _trial(study, start, method, data, place, run)
                place.say(f"{model} on {data.mode}: trial {number + 1} of {settings.trials}: {summary}")
                if value is not None:
                    parent.metrics({f"best_validation_{decides}": study.best_value}, step=number)
                    _write(path, model, data.mode, start.recommender, study, decides)
            result = _result(model, data.mode, start.recommender.op, study, decides, path, parent.run_id)
            parent.file(path)
    return result


def _trial(
    study: "optuna.Study", start: Entry, method: Method, data: ModeData, place: Place, run: Any
) -> tuple[float | None, str]:
    """Run one trial; return its value on validation (None if it was pruned or diverged) and a summary in words."""
    import optuna

    pairs = data.arrays.pairs
    decides = selection.name_of(len(pairs["validation"]))

    trial = study.ask()
    values = {field: _suggest(trial, field, range_) for field, range_ in start.recommender.space.items()}
    run.parameters(values)
    changed = dataclasses.replace(start, settings=_with(start, method, values))
    work = place.folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)

    def report(step: FitProgress) -> None:
        if step.epoch is not None and step.validation_value is not None:
            run.metrics({f"validation_{decides}": step.validation_value}, step=step.epoch)
            trial.report(step.validation_value, step.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    task = Task(data, changed.triplets, start.triplets.seed, work, place.device, place.home, report)
    shown = ", ".join(f"{field} {value:.3g}" if isinstance(value, float) else f"{field} {value}"
                      for field, value in values.items())  # fmt: skip
    try:
        fitted = task.fit(changed)
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        return None, f"{shown}: pruned, under the median of its epoch"
    except RuntimeError as error:  # too high a learning rate is a result, not an accident; so is running out of memory
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        return None, f"{shown}: failed: {error}"
    finally:
        shutil.rmtree(work, ignore_errors=True)
    touched = np.concatenate(list(pairs.values()))
    found = selection.measures(fitted.model, pairs["validation"], touched, place.device)
    run.metrics({f"best_epoch_validation_{name}": one for name, one in found.items()})
    study.tell(trial, found[decides])
    title = selection.TITLES[decides]
    return found[decides], f"{shown}: validation {title} {found[decides]:.4f}, best {study.best_value:.4f}"


@contextmanager
def _study(path: Path, name: str, settings: TuningSettings) -> Generator["optuna.Study"]:
    """Open or create the stored search; mark trials that a killed process left running as failed."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                direction="maximize",
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(n_startup_trials=settings.unguided_trials, n_warmup_steps=1),
            )
        for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            if trial.system_attrs.get("fixed_params"):  # its values were given, not drawn: queue them again
                study.enqueue_trial(trial.system_attrs["fixed_params"])
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _sampler(settings: TuningSettings, number: int) -> "optuna.samplers.BaseSampler":
    """Create the sampler of one trial; its draws depend on the seed, the trial's number and earlier trials only."""
    import optuna

    seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=settings.unguided_trials)


def _ended(study: "optuna.Study") -> list[Any]:
    import optuna

    return study.get_trials(states=(optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED))


def _suggest(trial: "optuna.Trial", field: str, range_: Span | Choice) -> Any:
    if isinstance(range_, Choice):
        return trial.suggest_categorical(field, range_.values)
    if range_.whole:
        return trial.suggest_int(field, int(range_.low), int(range_.high), log=range_.log)
    return trial.suggest_float(field, range_.low, range_.high, log=range_.log)


def _in_range(range_: Span | Choice, start: Entry, field: str) -> bool:
    """Whether the starting value lies in the field's range; one outside is not tried."""
    value = getattr(start.settings, field)
    if isinstance(range_, Choice):
        return value in range_.values
    return isinstance(value, int | float) and range_.low <= value <= range_.high


def _with(start: Entry, method: Method, values: dict[str, Any]) -> Any:
    """Apply the trial's values to the entry's settings, as the asset will do with the written run config."""
    preset = start.recommender.preset
    followed = Method(preset=preset, profile=method.profile) if preset else method
    changed = settings_of(start.recommender, followed, values)
    return dataclasses.replace(changed, seed=start.settings.seed)


def _plain(space: Space) -> dict[str, Any]:
    return {field: dataclasses.asdict(range_) for field, range_ in space.items()}


def _result(
    model: str, mode: str, op: str, study: "optuna.Study", decides: str, path: Path, run_id: str
) -> SearchResult:
    import optuna

    ended = _ended(study)
    pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in ended)
    if pruned == len(ended):
        raise InputError(f"{model} on {mode}: all {len(ended)} trials were pruned or failed; the run's log says why.")
    return SearchResult(
        model,
        mode,
        op,
        study.best_params,
        decides,
        study.best_value,
        _start_value(study),
        len(ended),
        pruned,
        path,
        run_id,
    )


def _start_value(study: "optuna.Study") -> float | None:
    given = [t for t in _ended(study) if t.system_attrs.get("fixed_params") and t.value is not None]
    return given[0].value if given else None


def _write(path: Path, model: str, mode: str, own: Recommender, study: "optuna.Study", decides: str) -> None:
    """Write the best settings so far as the `ops` section of a run config."""
    op = own.op
    alike = (op, own.settings_class)
    sharing = [name for name, other in in_studies().items() if (other.op, other.settings_class) == alike]
    start = _start_value(study)
    before = "" if start is None else f"; {start:.4f} with the settings before the search"
    lines = [
        f"# {model} on {mode}: validation {selection.TITLES[decides]} {study.best_value:.4f}, the best of "
        f"{len(_ended(study))} trials{before}.",
        "# Chosen on validation alone. Copy it into a profile's `ops`, or into the launchpad.",
    ]
    if len(sharing) > 1:
        lines.append(f"# The op {op} sets all of: {', '.join(sharing)}.")
    body = yaml.safe_dump({"ops": {op: {"config": dict(study.best_params)}}}, sort_keys=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda temporary: temporary.write_text("\n".join(lines) + "\n" + body))
