"""One search: the settings of one model on one image mode, by Optuna, on validation AUC alone.

It is seeded, and kept in SQLite under the home: cut off, it goes on and ends as if it had not been. Test pairs are
known to it only as items that are no candidates. Which searches there are, and what is shown, is `tuning_job.py`; what
may be searched, `tuning_settings.py`.
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

from models.metrics.evaluate import exact_auc
from models.training.search import Choice, Space, Span
from pipeline.core.durable import sole_writer, write_whole
from pipeline.core.raw.sources import BadInput
from pipeline.home.storage import digest
from pipeline.runtime.tracking import Tracker
from pipeline.settings.method import Method
from pipeline.study.contenders import CONTENDERS, Contender, Entry, Step, Task, entry, settings_of
from pipeline.study.data import ModeData
from pipeline.study.tuning_settings import TuningSettings

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Found:
    """What a search found."""

    model: str
    mode: str
    op: str
    best: dict[str, Any]  # field -> value
    validation_auc: float
    start_auc: float | None  # of the settings as they were; None where that trial was pruned
    trials: int
    pruned: int
    file: Path
    mlflow_run: str


@dataclass(frozen=True)
class Place:
    """Where a search runs: the home, its device, its tracker, and who is told."""

    home: Path
    device: torch.device
    tracker: Tracker
    dagster_run: str = ""
    say: Callable[[str], object] = lambda _: None

    @property
    def folder(self) -> Path:
        """Where searches are kept."""
        return self.home / "tuning"


def search(model: str, data: ModeData, method: Method, settings: TuningSettings, place: Place) -> Found:
    """Search, or go on searching, and write the best settings as a piece of run config.

    A search of other data, other spaces or other settings to start from is another search.

    Raises:
        BlockingIOError: another process is searching in this home.
    """
    start = entry(model, method).seeded(settings.seed)
    space = start.contender.space
    name = f"{model}[{data.mode}]-{digest(start.plain(), _plain(space), data.inputs, settings.seed)}"
    with sole_writer(place.folder), _study(place.folder / "optuna.db", name, settings) as study:
        first = {field: getattr(start.settings, field) for field in space if _holds(space[field], start, field)}
        study.enqueue_trial(first, skip_if_exists=True)
        with place.tracker.parent(name, place.dagster_run, model=model, image_mode=data.mode) as parent:
            parent.parameters(start.plain(), space=_plain(space), seed=settings.seed, **data.inputs)
            path = place.folder / model / f"{data.mode}.yaml"
            while (number := len(_ended(study))) < settings.trials:
                study.sampler = _sampler(settings, number)
                with place.tracker.child(parent, f"trial {number}", number) as run:
                    value, told = _trial(study, start, method, data, place, run)
                place.say(f"{model} on {data.mode}: trial {number + 1} of {settings.trials}: {told}")
                if value is not None:
                    parent.metrics({"best_validation_auc": study.best_value}, step=number)
                    _write(path, model, data.mode, start.contender, study)
            found = _found(model, data.mode, start.contender.op, study, path, parent.run_id)
            parent.file(path)
    return found


def _trial(
    study: "optuna.Study", start: Entry, method: Method, data: ModeData, place: Place, run: Any
) -> tuple[float | None, str]:
    """One trial: its validation AUC, or None where it was pruned or its training diverged; and that in words."""
    import optuna

    trial = study.ask()
    values = {field: _suggest(trial, field, range_) for field, range_ in start.contender.space.items()}
    run.parameters(values)
    changed = dataclasses.replace(start, settings=_with(start, method, values))
    work = place.folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)

    def report(step: Step) -> None:
        if step.epoch is not None and step.validation_auc is not None:
            run.metrics({"validation_auc": step.validation_auc}, step=step.epoch)
            trial.report(step.validation_auc, step.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    task = Task(data, changed.triplets, start.triplets.seed, work, place.device, place.home, report)
    said = ", ".join(f"{field} {value:.3g}" if isinstance(value, float) else f"{field} {value}"
                     for field, value in values.items())  # fmt: skip
    try:
        fitted = changed.contender.fit(task, changed.settings)
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        return None, f"{said}: pruned, under the median of its epoch"
    except RuntimeError as error:  # a learning rate too high is an answer, not an accident; out of memory counts too
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        return None, f"{said}: failed: {error}"
    finally:
        shutil.rmtree(work, ignore_errors=True)
    pairs = data.arrays.pairs
    touched = np.concatenate(list(pairs.values()))
    value = exact_auc(fitted.factors, pairs["validation"], touched, place.device)
    run.metrics({"best_epoch_validation_auc": value})
    study.tell(trial, value)
    return value, f"{said}: validation AUC {value:.4f}, best {study.best_value:.4f}"


@contextmanager
def _study(path: Path, name: str, settings: TuningSettings) -> Generator["optuna.Study"]:
    """The search in its store; trials that a killed process left running are given up."""
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
            if trial.system_attrs.get("fixed_params"):  # it was given, not drawn: it is to be given again
                study.enqueue_trial(trial.system_attrs["fixed_params"])
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _sampler(settings: TuningSettings, number: int) -> "optuna.samplers.BaseSampler":
    """The sampler of the trial with that number: what it draws follows from (seed, number, the trials before)."""
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


def _holds(range_: Span | Choice, start: Entry, field: str) -> bool:
    """Whether what the field is now lies in its range: a start outside of it is not tried."""
    value = getattr(start.settings, field)
    if isinstance(range_, Choice):
        return value in range_.values
    return isinstance(value, int | float) and range_.low <= value <= range_.high


def _with(start: Entry, method: Method, values: dict[str, Any]) -> Any:
    """The entry's settings with the trial's values, made as the asset will make them from the written snippet."""
    followed = Method(preset=start.contender.preset, profile=method.profile) if start.contender.preset else method
    made = settings_of(start.contender, followed, values)
    return dataclasses.replace(made, seed=start.settings.seed)


def _plain(space: Space) -> dict[str, Any]:
    return {field: dataclasses.asdict(range_) for field, range_ in space.items()}


def _found(model: str, mode: str, op: str, study: "optuna.Study", path: Path, run_id: str) -> Found:
    import optuna

    ended = _ended(study)
    pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in ended)
    if pruned == len(ended):
        raise BadInput(f"{model} on {mode}: not one of {len(ended)} trials ended well; see the run's log for why.")
    return Found(
        model, mode, op, study.best_params, study.best_value, _start_auc(study), len(ended), pruned, path, run_id
    )


def _start_auc(study: "optuna.Study") -> float | None:
    given = [t for t in _ended(study) if t.system_attrs.get("fixed_params") and t.value is not None]
    return given[0].value if given else None


def _write(path: Path, model: str, mode: str, own: Contender, study: "optuna.Study") -> None:
    """The best settings so far, as the `ops` section of a run config."""
    op = own.op
    sharing = [name for name, other in CONTENDERS.items() if (other.op, other.settings) == (op, own.settings)]
    start = _start_auc(study)
    before = "" if start is None else f"; {start:.4f} with the settings as they were"
    lines = [
        f"# {model} on {mode}: validation AUC {study.best_value:.4f}, the best of {len(_ended(study))} trials{before}.",
        "# Chosen on validation alone. For a profile's `ops`, or the launchpad.",
    ]
    if len(sharing) > 1:
        lines.append(f"# The op {op} sets all of: {', '.join(sharing)}.")
    body = yaml.safe_dump({"ops": {op: {"config": own.config(dict(study.best_params))}}}, sort_keys=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda temporary: temporary.write_text("\n".join(lines) + "\n" + body))
