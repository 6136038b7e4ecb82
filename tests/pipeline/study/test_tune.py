"""The job `tune`: validation decides, the same seed finds the same, a search that was cut off goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import optuna
import pyarrow.compute as pc
import pytest

from models.baselines.bpr import VBPR_GRID
from models.metrics import selection
from models.training import deciding
from models.training.search import Choice, Span
from pipeline.build import build_definitions
from pipeline.core.errors import InputError
from pipeline.home.storage import Storage
from pipeline.recommenders.contract import FitProgress
from pipeline.recommenders.registry import get, in_studies
from pipeline.runtime.resources import default_resources
from pipeline.runtime.tracking import Tracker
from pipeline.settings import profiles
from pipeline.settings.method import Method
from pipeline.study import tuning
from pipeline.study.entries import settings_of
from pipeline.study.tuning_settings import SPACES, TuningSettings
from tests.pipeline.conftest import TINY, Home, isolate

pytestmark = pytest.mark.slow

MODE = "vendor_single"


def execute(**config: Any) -> dg.ExecuteInProcessResult:
    """Run the job with this config, as the launchpad would."""
    built = build_definitions(resources={"method": Method(profile=str(TINY))})
    with dg.DagsterInstance.ephemeral() as instance:
        return built.resolve_job_def("tune").execute_in_process(
            run_config={"ops": {"tuning": {"config": config}}}, instance=instance, raise_on_error=True
        )


@pytest.fixture(scope="module")
def tuned(pictured: Home) -> dict[str, Any]:
    """Two models tuned at once: the metadata of the run."""
    result = execute(models=["vbpr", "dvbpr"], modes=[MODE], trials=3, unguided_trials=2)
    [output] = [e.event_specific_data for e in result.all_events if e.event_type_value == "STEP_OUTPUT"]
    return {name: value.value for name, value in output.metadata.items()}


def studies(home: Path) -> dict[str, optuna.Study]:
    store = f"sqlite:///{home / 'tuning' / 'optuna.db'}"
    names = optuna.get_all_study_names(store)
    return {name: optuna.load_study(study_name=name, storage=store) for name in names}


def of(home: Home, model: str) -> optuna.Study:
    [study] = [study for name, study in studies(home.folder).items() if name.startswith(f"{model}[{MODE}]")]
    return study


def tracker(home: Home) -> Tracker:
    found = default_resources()["tracker"]
    assert isinstance(found, Tracker) and str(home.folder) in found.tracking_uri
    return found


def test_the_best_settings_are_a_config_that_a_profile_takes(tuned: dict[str, Any], pictured: Home):
    for model, op in (("vbpr", "baselines"), ("dvbpr", "dvbpr")):
        path = pictured.folder / "tuning" / model / f"{MODE}.yaml"
        assert str(path) == tuned[f"{model}_{MODE}_config"]
        assert profiles.load(str(path)).ops == {op: of(pictured, model).best_params}
        assert f"validation AUC {of(pictured, model).best_value:.4f}" in path.read_text()


def test_the_best_settings_of_modern_are_those_of_its_own_op(tuned: dict[str, Any], pictured: Home):
    execute(models=["modern"], modes=[MODE], trials=1)
    path = pictured.folder / "tuning" / "modern" / f"{MODE}.yaml"
    assert profiles.load(str(path)).ops == {"modern": of(pictured, "modern").best_params}
    assert "sets all of" not in path.read_text()


def test_what_shares_an_op_is_named_beside_the_config(tuned: dict[str, Any], pictured: Home):
    text = (pictured.folder / "tuning" / "vbpr" / f"{MODE}.yaml").read_text()
    named = text.split("The op baselines sets all of: ")[1].split(".\n")[0].split(", ")
    assert {"bpr_mf", "bpr_mf_prior", "vbpr", "vbpr_visual"} <= set(named) and "popularity" not in named


def test_the_run_shows_the_best_of_every_model(tuned: dict[str, Any], pictured: Home):
    for model in ("vbpr", "dvbpr"):
        assert f"| {model} | {MODE} | AUC {of(pictured, model).best_value:.4f} |" in tuned["best"]
        assert tuned[f"{model}_{MODE}_validation_auc"] == of(pictured, model).best_value


def test_the_settings_as_they_were_are_among_the_trials(tuned: dict[str, Any], pictured: Home):
    first = of(pictured, "vbpr").trials[0]
    assert first.params["learning_rate"] == 0.001 and first.params["k"] == 64
    assert of(pictured, "vbpr").best_value >= first.value


def test_trials_stand_under_one_parent_in_mlflow(tuned: dict[str, Any], pictured: Home):
    client = tracker(pictured).client()
    parent = tuned[f"vbpr_{MODE}_mlflow_run"]
    experiment = client.get_run(parent).info.experiment_id
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert sorted(child.data.tags["tuning.trial"] for child in children) == ["0", "1", "2"]
    assert {child.info.status for child in children} == {"FINISHED"}
    best = max(child.data.metrics["best_epoch_validation_auc"] for child in children)
    assert best == pytest.approx(of(pictured, "vbpr").best_value)


def test_a_search_that_is_done_tries_nothing_more(tuned: dict[str, Any], pictured: Home):
    execute(models=["vbpr"], modes=[MODE], trials=3, unguided_trials=2)
    assert len(of(pictured, "vbpr").trials) == 3


@pytest.fixture
def searched(pictured: Home, tmp_path: Path) -> Callable[..., tuple[tuning.SearchResult, optuna.Study]]:
    """Search for vbpr in a folder of its own, on the home's data."""
    from pipeline.study.data import materialised, open_home

    method, storage = Method(profile=str(TINY)), Storage(root=str(pictured.folder))
    data = materialised(storage, open_home(storage, method), MODE)

    def run(folder: str = "home", change: Callable[[Any], Any] = lambda data: data, **settings: Any):
        place = tuning.Place(tmp_path / folder, tuning.torch.device("cpu"), tracker(pictured))
        chosen = TuningSettings(**{"models": ("vbpr",), "trials": 4, "unguided_trials": 2, **settings})
        found = tuning.search("vbpr", change(data), method, chosen, place)
        return found, next(iter(studies(tmp_path / folder).values()))

    return run


def params(study: optuna.Study) -> list[dict[str, Any]]:
    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return [trial.params for trial in study.get_trials(states=ended)]


def test_a_search_that_was_cut_off_ends_as_one_that_was_not(
    tuned: dict[str, Any], searched: Any, monkeypatch: pytest.MonkeyPatch
):
    whole, unbroken = searched("unbroken", trials=5)
    fit, calls = get("vbpr").fit, 0

    def killed(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:  # the second that the sampler guided: its first draws would be the same anew
            raise KeyboardInterrupt
        return fit(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(get("vbpr"), "fit", killed)
        with pytest.raises(KeyboardInterrupt):
            searched("broken", trials=5)
    resumed, broken = searched("broken", trials=5)
    assert [trial.state.name for trial in broken.trials].count("FAIL") == 1
    assert params(broken) == params(unbroken)
    assert (resumed.best, resumed.value) == (whole.best, whole.value)


def test_the_start_that_was_cut_off_is_tried_again(
    tuned: dict[str, Any], searched: Any, monkeypatch: pytest.MonkeyPatch
):
    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(get("vbpr"), "fit", killed)
        with pytest.raises(KeyboardInterrupt):
            searched(trials=1)
    found, study = searched(trials=1)
    assert params(study) == [{"k": 64, "learning_rate": 0.001, "visual_bias": True}]
    assert found.start_value == found.value


def test_validation_pairs_alone_are_ever_measured(
    tuned: dict[str, Any], searched: Any, monkeypatch: pytest.MonkeyPatch, pictured: Home
):
    measured: list[np.ndarray] = []
    measures = selection.measures

    def recording(factors: Any, held_out: np.ndarray, *more: Any) -> dict[str, float]:
        measured.append(held_out)
        return measures(factors, held_out, *more)

    monkeypatch.setattr(selection, "measures", recording)
    searched(trials=2)
    splits = pictured.table("splits", MODE)
    assert len(measured) > 2 * len(VBPR_GRID)
    assert all(np.array_equal(pairs, measured[0]) for pairs in measured)
    validation = splits.filter(pc.equal(splits["split"], "validation"))
    items = np.unique(pictured.table("catalogue", MODE)["item"].to_numpy())
    assert items[measured[0][:, 1]].tolist() == validation["item"].to_pylist()


def test_ndcg_decides_once_enough_pairs_are_held_out_and_starts_another_search(
    tuned: dict[str, Any], searched: Any, monkeypatch: pytest.MonkeyPatch
):
    by_auc, _ = searched(trials=2)
    monkeypatch.setattr(deciding, "ENOUGH_PAIRS", 1)
    by_ndcg, _ = searched(trials=2)
    assert (by_auc.selected_by, by_ndcg.selected_by) == ("auc", "ndcg_at_100")
    assert by_ndcg.value < 0.5 < by_auc.value
    assert f"validation NDCG@100 {by_ndcg.value:.4f}, the best of 2 trials" in by_ndcg.file.read_text()


def test_a_trial_under_the_median_of_its_epoch_is_pruned(
    tuned: dict[str, Any], searched: Any, monkeypatch: pytest.MonkeyPatch
):
    aucs = iter([0.6, 0.7, 0.8, 0.1])
    fit = get("vbpr").fit

    def by_epochs(context: Any, settings: Any) -> Any:
        auc = next(aucs)
        for epoch in (1, 2, 3):
            context.report(FitProgress(epoch, 3, "", epoch, auc))
        return fit(context, settings)

    monkeypatch.setattr(get("vbpr"), "fit", by_epochs)
    found, study = searched()
    assert found.pruned == 1
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3 + ["PRUNED"]


def test_a_training_that_diverges_is_an_answer_and_the_search_goes_on(
    tuned: dict[str, Any], searched: Any, monkeypatch: pytest.MonkeyPatch
):
    fit, calls = get("vbpr").fit, 0

    def diverging(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("the loss is nan")
        return fit(*arguments)

    monkeypatch.setattr(get("vbpr"), "fit", diverging)
    found, _ = searched(trials=3)
    assert (found.trials, found.pruned) == (3, 1)


def test_the_homes_models_and_tables_are_not_touched(tuned: dict[str, Any], pictured: Home):
    assert not (pictured.folder / "recommender").exists() and not (pictured.folder / "baselines").exists()
    assert not (pictured.folder / "tuning" / "work").exists()


def test_a_home_without_splits_is_told_to_materialise_them(pictured: Home, tmp_path: Path):
    path = pictured.folder / "tables" / "splits" / f"{MODE}.parquet"
    path.rename(tmp_path / "kept.parquet")
    try:
        with pytest.raises(InputError, match=rf"lacks splits of {MODE}: materialise them first"):
            execute(models=["vbpr"], modes=[MODE], trials=1)
    finally:
        (tmp_path / "kept.parquet").rename(path)


def test_an_empty_home_is_told_what_to_materialise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    isolate(monkeypatch, tmp_path / "empty")
    with pytest.raises(InputError, match="lacks interactions, users"):
        execute(models=["vbpr"], modes=[MODE], trials=1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"models": ("popularity",)}, "models: popularity; there are: modern, dvbpr, bpr_mf, vbpr, vbpr_visual"),
        ({"modes": ("vendor",)}, "modes: vendor; there are: vendor_single"),
        ({"models": ()}, "models: none given"),
        ({"trials": 0}, "trials=0; it must be at least 1"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_what_can(settings: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=said):
        TuningSettings(**settings)


def test_every_space_is_of_fields_that_the_models_op_takes():
    spaces = {name: recommender for name, recommender in in_studies().items() if recommender.space}
    assert set(spaces) == set(SPACES)
    assert {"bpr_mf", "vbpr", "dvbpr"} <= set(spaces)
    for name, recommender in spaces.items():
        method = Method(preset=recommender.preset)
        first = {field: range_.values[0] if isinstance(range_, Choice) else range_.low
                 for field, range_ in recommender.space.items()}  # fmt: skip
        made = settings_of(recommender, method, first)
        assert {field: getattr(made, field) for field in first} == first, name


def test_a_span_without_a_range_is_refused():
    with pytest.raises(ValueError, match="no range"):
        Span(1.0, 1.0)
    with pytest.raises(ValueError, match="no range"):
        Span(0.0, 1.0, log=True)
    assert Span(1, 4).whole and not Span(1, 4.0).whole
    assert Choice((1, 2)).values == (1, 2)
