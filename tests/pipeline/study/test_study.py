"""A study: every cell once and for good, the home untouched, and a report whose figures can be checked by hand."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from models.data.factors import Factors
from models.data.score_matrix import ScoreMatrix
from pipeline.core.dataset.split_facts import protocol_line
from pipeline.core.errors import InputError
from pipeline.erase.erase import ErasureScope, drop_studies
from pipeline.recommenders.contract import FitContext, Fitted, NotApplicableError
from pipeline.recommenders.peers import environment
from pipeline.recommenders.peers.environment import PeerEnvironment
from pipeline.recommenders.peers.settings import TunedCornacSettings
from pipeline.recommenders.registry import get, in_studies
from pipeline.runtime.exits import DONE, FAILED, WRONG_CALL
from pipeline.settings.method import Method
from pipeline.study import one_cell, report
from pipeline.study.entries import entry
from pipeline.study.estimates import duration
from pipeline.study.grid import main
from pipeline.study.measures import MEASURES
from tests.pipeline.conftest import TINY, Home, isolate

ROOT = Path(__file__).parents[3]
Call = Callable[..., tuple[int, str]]
GRID = ("--name", "tiny", "--profile", str(TINY), "--splits", "2", "--seeds", "2")
MODELS = ("popularity", "vbpr", "dvbpr")


@pytest.fixture(scope="module")
def study(environment: pytest.MonkeyPatch, pictured: Home) -> Path:
    """A small study of one mode, pictured."""
    before = fingerprint(pictured.folder)
    assert main([*GRID, "--modes", "vendor_customer", "--models", *MODELS, "--shuffled-labels", "popularity"]) == DONE
    assert fingerprint(pictured.folder) == before, "a study changed the home"
    return pictured.folder / "studies" / "tiny"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], pictured: Home) -> Call:
    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(list(arguments))
        return code, " ".join(capsys.readouterr().out.split())

    return run


def fingerprint(home: Path) -> dict[str, str]:
    """Every file of the home but its studies, by content."""
    files = (path for path in home.rglob("*") if path.is_file() and "studies" not in path.parts)
    return {str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def cell(study: Path, model: str, split: int = 0, seed: int = 0) -> Path:
    return study / "random" / "vendor_customer" / f"split-{split}" / f"seed-{seed}" / model


def times(study: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in study.rglob("*") if path.is_file() and path.parent != study}


def test_every_cell_has_a_folder_with_factors_metrics_and_a_manifest(study: Path):
    for model in ("vbpr", "dvbpr"):
        for split, seed in ((0, 0), (0, 1), (1, 0), (1, 1)):
            folder = cell(study, model, split, seed)
            assert {path.name for path in folder.iterdir()} == {"factors.npz", "per_user.parquet", "manifest.json"}
            manifest = json.loads((folder / "manifest.json").read_text())
            assert (manifest["split"], manifest["seed"], manifest["settings"]["seed"]) == (split, seed, seed)
            assert {"splits", "catalogue", "image_bank", "image_features", "surviving"} <= set(manifest["inputs"])
            assert manifest["code"]


def test_a_cells_metrics_are_those_of_its_factors(study: Path, pictured: Home):
    table = pq.read_table(cell(study, "vbpr") / "per_user.parquet").to_pandas()
    factors = Factors.load(cell(study, "vbpr") / "factors.npz")
    row = table[table["part"] == "test"].iloc[3]
    # Split 0 is the home's own: its seed is 0.
    splits = pictured.table("splits", "vendor_customer").to_pandas()
    own = splits[splits["user"] == row["user"]]
    user = np.searchsorted(factors.users, row["user"])
    item = np.searchsorted(factors.items, own[own["split"] == "test"]["item"].item())
    scores = factors.theta[user] @ factors.item.T + factors.item_bias
    others = ~np.isin(factors.items, own["item"])
    expected = (scores[others] < scores[item]).mean() + (scores[others] == scores[item]).mean() / 2
    assert row["auc"] == pytest.approx(expected, abs=1e-6)


def test_another_split_holds_out_other_items_and_another_seed_the_same(study: Path):
    splits = {
        key: json.loads((cell(study, "vbpr", *key) / "manifest.json").read_text())["inputs"]["splits"]
        for key in ((0, 0), (0, 1), (1, 0))
    }
    assert splits[0, 0] == splits[0, 1] != splits[1, 0]
    weights = [np.load(cell(study, "vbpr", 0, seed) / "factors.npz")["theta"] for seed in (0, 1)]
    assert not np.array_equal(*weights)


def test_a_model_that_no_seed_changes_runs_once_a_split(study: Path):
    assert cell(study, "popularity", 1, 0).is_dir() and not cell(study, "popularity", 1, 1).exists()


def test_a_finished_cell_is_never_run_again(study: Path, call: Call):
    before = times(study)
    code, said = call(*GRID, "--modes", "vendor_customer", "--models", *MODELS, "--shuffled-labels", "popularity")
    assert code == DONE and "12 cells, 12 finished before" in said
    assert times(study) == before


def test_a_cell_that_was_killed_is_made_again_and_the_others_stay(study: Path, call: Call):
    before, killed = times(study), cell(study, "dvbpr", 1, 1)
    theta = np.load(killed / "factors.npz")["theta"]
    (killed / "manifest.json").unlink()
    (killed / "work-of-other-settings").mkdir()
    code, said = call(*GRID, "--modes", "vendor_customer", "--models", *MODELS)
    assert code == DONE and "validation AUC" in said and "10 cells, 9 finished before" in said
    assert np.array_equal(np.load(killed / "factors.npz")["theta"], theta)
    assert not list(killed.glob("work-*"))
    assert {path for path, time in times(study).items() if before.get(path) != time} == {
        str(killed / name) for name in ("factors.npz", "per_user.parquet", "manifest.json")
    }


def test_a_study_made_with_other_settings_is_refused_with_the_difference(study: Path, call: Call, tmp_path: Path):
    other = tmp_path / "other.yaml"
    other.write_text(TINY.read_text().replace("max_epochs: 3", "max_epochs: 4"))
    code, said = call("--name", "tiny", "--profile", str(other), "--modes", "vendor_customer", "--models", "vbpr")
    assert code == WRONG_CALL
    assert "settings.max_epochs: 3 there, 4 here" in said and "another --name" in said


def test_a_study_of_other_pictures_is_refused(study: Path, call: Call, pictured: Home):
    pointer = pictured.folder / "features" / "current.json"
    kept = pointer.read_bytes()
    try:
        version = json.loads(kept)["run"]
        shutil.copyfile(pointer.with_name(f"{version}.npy"), pointer.with_name("other.npy"))
        pointer.write_text(json.dumps({"run": "other"}))
        code, said = call(*GRID, "--modes", "vendor_customer", "--models", "vbpr")
    finally:
        pointer.write_bytes(kept)
        pointer.with_name("other.npy").unlink()
    assert code == WRONG_CALL and f"inputs.image_features: {version} there, other here" in said


def test_a_variant_is_a_model_of_its_own_with_the_field_changed(study: Path, call: Call):
    spec = "vbpr+k=4"
    call(*GRID[:4], "--splits", "1", "--seeds", "1", "--modes", "vendor_customer", "--models", "vbpr", spec)
    manifest = json.loads((cell(study, spec) / "manifest.json").read_text())
    assert (manifest["settings"]["k"], manifest["settings"]["max_epochs"]) == (4, 3)
    shutil.rmtree(cell(study, spec))
    call("--name", "tiny", "--report-only")
    assert spec not in (study / "report.md").read_text()


def test_the_time_of_a_training_from_pixels_is_said_before_it(call: Call, pictured: Home):
    code, said = call(
        "--name", "timed", "--profile", str(TINY), "--splits", "1", "--seeds", "1", "--modes", "vendor_single",
        "--models", "dvbpr",
    )  # fmt: skip
    assert code == DONE
    assert said.index("dvbpr: about") < said.index("✓ 1/1")


def test_a_peer_that_cannot_be_installed_is_skipped_and_the_others_are_made(
    call: Call, pictured: Home, monkeypatch: pytest.MonkeyPatch
):
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(environment.venv, "create", offline)
    code, said = call(
        "--name", "offline", "--splits", "1", "--seeds", "1", "--modes", "vendor_single",
        "--models", "cornac_vbpr", "popularity", "--reference", "popularity",
    )  # fmt: skip
    assert code == DONE
    assert "- cornac_vbpr was skipped: cornac 3.0.1 could not be installed" in said and "no route to host" in said
    assert "✓ 2/2 random vendor_single split 0 seed 0 popularity" in said


def test_a_cell_that_fails_is_named_and_the_others_are_made(
    call: Call, pictured: Home, monkeypatch: pytest.MonkeyPatch
):
    def failing(*_: object) -> None:
        raise RuntimeError("the loss is nan")

    monkeypatch.setattr(get("random"), "fit", failing)
    code, said = call(
        "--name", "failing", "--splits", "1", "--seeds", "1", "--modes", "vendor_single",
        "--models", "random", "popularity", "--reference", "popularity",
    )  # fmt: skip
    assert code == FAILED
    assert "random vendor_single split 0 seed 0 random: the loss is nan" in said
    assert "✓ 2/2 random vendor_single split 0 seed 0 popularity" in said


def test_a_peers_factors_are_measured_as_our_own(pictured: Home, monkeypatch: pytest.MonkeyPatch, call: Call):
    """Cornac itself is not here: a worker that keeps its contract says what it was given."""

    given: list[dict[str, float]] = []

    def worker(_: PeerEnvironment, __: Path, ___: Path, files: list[Path], seconds: float) -> None:
        with np.load(files[0]) as found:
            given.append(json.loads(str(found["knobs"])))
            epochs, users, items = found["epochs"], int(found["users"]), int(found["items"])
        item = np.tile(np.arange(items, dtype=np.float32)[:, None], (len(epochs), 1, 1))
        theta = np.tile(epochs[:, None, None].astype(np.float32), (1, users, 1))
        np.savez(files[1], theta=theta, item=item, item_bias=np.zeros((len(epochs), items)))

    monkeypatch.setattr(PeerEnvironment, "run", worker)
    models = ("cornac_vbpr", "cornac_vbpr_tuned")
    call("--name", "peer", "--splits", "1", "--seeds", "1", "--modes", "vendor_single", "--models", *models)
    folder = pictured.folder / "studies" / "peer" / "random" / "vendor_single" / "split-0" / "seed-0" / "cornac_vbpr"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [point["epochs"] for point in manifest["notes"]["grid"]] == [5, 10, 20]
    assert Factors.load(folder / "factors.npz").theta[0, 0] == 5  # all alike on validation: the first
    assert given[0] == {}  # as released
    tuned = json.loads((folder.with_name("cornac_vbpr_tuned") / "manifest.json").read_text())
    points = TunedCornacSettings().points()
    assert given[1:] == points and len(tuned["notes"]["grid"]) == len(points) * len(tuned["settings"]["epochs"])
    assert all(point["lambda_w"] == point["lambda_e"] for point in points)


def test_shuffled_labels_share_nothing_with_the_users_items(study: Path, pictured: Home):
    table = pq.read_table(cell(study, "popularity" + one_cell.SHUFFLED) / "per_user.parquet").to_pandas()
    real = pq.read_table(cell(study, "popularity") / "per_user.parquet").to_pandas()
    assert set(table["user"]) == set(real["user"])
    assert table["auc"].tolist() != real["auc"].tolist()
    assert abs(table["auc"].mean() - 0.5) < 0.15 < 0.5


def test_the_report_is_in_three_forms_and_explains_its_measurement(study: Path):
    text, whole = (study / "report.md").read_text(), json.loads((study / "report.json").read_text())
    assert (study / "report-random.png").stat().st_size > 5000
    assert report.MEASUREMENT in text and "| model, minus vbpr |" in text
    found = whole["protocols"]["random"]["vendor_customer"]
    assert set(found["models"]) == set(MODELS)
    assert "Shuffled labels, popularity:" in text and set(found["shuffled_labels"]) == {"popularity~shuffled"}
    assert protocol_line(found["facts"]) in text
    for title in (measure.title for measure in MEASURES.values()):
        assert f"| {title}" in text


def test_the_report_is_sorted_by_the_metric_that_is_asked_for(study: Path, call: Call):
    orders = []
    for metric in ("novelty_at_10", "coverage_at_10"):
        call("--name", "tiny", "--report-only", "--sort", metric)
        found = json.loads((study / "report.json").read_text())["protocols"]["random"]["vendor_customer"]
        values = {model: row[metric] for model, row in found["models"].items()}
        means = {model: value["mean"] if isinstance(value, dict) else value for model, value in values.items()}
        table = next(
            part for part in (study / "report.md").read_text().split("\n\n") if part.startswith("| model | AUC")
        )
        orders.append([line.split(" | ")[0][2:] for line in table.splitlines()[2:]])
        assert orders[-1] == sorted(means, key=lambda model: -means[model]), means
    call("--name", "tiny", "--report-only")


def test_a_model_that_cannot_be_trained_here_is_skipped_with_the_reason_and_tried_again(
    call: Call, pictured: Home, monkeypatch: pytest.MonkeyPatch
):
    tried: list[int] = []

    def too_many(context: FitContext, settings: object) -> None:
        tried.append(len(context.data.items))
        raise NotApplicableError(f"more than {len(context.data.items) - 1} items")

    arguments = ("--name", "skips", "--splits", "2", "--seeds", "1", "--modes", "vendor_single",
                 "--models", "popularity", "random")  # fmt: skip
    root = pictured.folder / "studies" / "skips"
    with monkeypatch.context() as patch:
        patch.setattr(get("random"), "fit", too_many)
        code, said = call(*arguments)
    assert code == DONE and len(tried) == 1  # the second split is not tried again
    assert f"random was skipped: more than {tried[0] - 1} items" in said
    assert not list(root.rglob("work-*"))
    assert len(list(root.rglob("skipped.json"))) == 2 and len(list(root.rglob("manifest.json"))) == 2
    code, said = call(*arguments)
    assert code == DONE and "skipped" not in said
    assert not list(root.rglob("skipped.json")) and len(list(root.rglob("manifest.json"))) == 4


def test_a_model_that_is_no_factors_is_measured_but_not_kept_and_an_erasure_finds_its_study(
    call: Call, pictured: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def fit(context: FitContext, _: object) -> Fitted:
        data = context.data
        scores = np.random.default_rng(0).random((len(data.users), len(data.items)), np.float32)
        return Fitted(ScoreMatrix(data.users, data.items, data.image_item, scores))

    monkeypatch.setattr(get("popularity"), "fit", fit)
    arguments = ("--splits", "1", "--seeds", "1", "--modes", "vendor_single", "--models", "popularity")
    code, _ = call("--name", "scores", *arguments)
    root = pictured.folder / "studies" / "scores"
    [folder] = [path.parent for path in root.rglob("manifest.json")]
    assert code == DONE
    assert {path.name for path in folder.iterdir()} == {"ids.npz", "per_user.parquet", "manifest.json"}
    user = int(pq.read_table(folder / "per_user.parquet")["user"][0].as_py())
    scope = ErasureScope("reviewer", "R", frozenset(), users=frozenset({10**6}))
    copied = tmp_path / "studies" / "scores"
    shutil.copytree(root, copied)
    assert drop_studies(tmp_path, scope) == 0 and copied.is_dir()
    assert drop_studies(tmp_path, replace(scope, users=frozenset({user}))) == 1 and not copied.exists()


def test_a_prior_is_added_to_the_model_that_is_trained_already(
    call: Call, pictured: Home, monkeypatch: pytest.MonkeyPatch
):
    once = ("--splits", "1", "--seeds", "1", "--modes", "vendor_single", "--reference", "ials_prior")
    trainings: list[int] = []
    fit = type(get("ials")).fit
    monkeypatch.setattr(type(get("ials")), "fit", lambda *given: [trainings.append(1), fit(*given)][1])
    call("--name", "apart", *once, "--models", "ials_prior")
    assert len(trainings) == 1
    call("--name", "behind", *once, "--models", "ials", "ials_prior")
    assert len(trainings) == 2
    ends = [pictured.folder / "studies" / name / "random/vendor_single/split-0/seed-0" for name in ("apart", "behind")]
    models = [Factors.load(end / "ials_prior" / "factors.npz") for end in ends]
    for name in ("theta", "item", "item_bias"):
        np.testing.assert_array_equal(*(getattr(model, name) for model in models))
    alone, with_prior = (json.loads((ends[1] / name / "manifest.json").read_text()) for name in ("ials", "ials_prior"))
    assert with_prior["training_seconds"] >= alone["training_seconds"]  # what the model costs
    assert with_prior["notes"]["grid"] == alone["notes"]["grid"]
    # Other inputs make another model.
    path = ends[1] / "ials" / "manifest.json"
    path.write_text(json.dumps(alone | {"inputs": {**alone["inputs"], "splits": "others"}}))
    shutil.rmtree(ends[1] / "ials_prior")
    call("--name", "behind", *once, "--models", "ials_prior")
    assert len(trainings) == 3


def test_a_study_of_an_earlier_version_is_refused_with_the_way_to_go_on(pictured: Home, call: Call):
    (pictured.folder / "studies" / "older" / "vendor_single" / "split-0").mkdir(parents=True)
    code, said = call("--name", "older", "--models", "popularity", "--modes", "vendor_single", "--splits", "1")
    assert code == WRONG_CALL and "earlier version" in said and "give this study another --name" in said


def test_two_protocols_that_were_killed_go_on_and_end_as_one_table_each(pictured: Home, call: Call):
    arguments = ("--name", "killed", "--profile", str(TINY), "--protocols", "random", "latest", "--splits", "2",
                 "--seeds", "1", "--modes", "vendor_single", "--models", "vbpr", "popularity")  # fmt: skip
    command = [sys.executable, "-m", "pipeline.study", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = iter(process.stdout)
        assert any("1/6 random" in line for line in said)
        process.kill()
    root = pictured.folder / "studies" / "killed"
    before = {path: path.stat().st_mtime_ns for path in root.rglob("manifest.json")}
    assert 1 <= len(before) < 6
    code, text = call(*arguments)
    assert code == DONE and f"6 cells, {len(before)} finished before" in text
    assert {path: path.stat().st_mtime_ns for path in before} == before
    folders = {str(path.parent.relative_to(root)) for path in root.rglob("manifest.json")}
    splits = ("random/vendor_single/split-0", "random/vendor_single/split-1", "latest/vendor_single/split-0")
    assert folders == {f"{split}/seed-0/{model}" for split in splits for model in ("vbpr", "popularity")}
    whole = json.loads((root / "report.json").read_text())
    assert {name: one["vendor_single"]["models"]["vbpr"]["splits"] for name, one in whole["protocols"].items()} == {
        "random": 2, "latest": 1,
    }  # fmt: skip
    assert (root / "report-latest.png").is_file()


def test_a_home_without_tables_is_told_what_to_materialise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    isolate(monkeypatch, tmp_path / "empty")
    assert main(["--models", "vbpr"]) == WRONG_CALL
    said = " ".join(capsys.readouterr().out.split())
    assert "lacks interactions, users, items, image_urls, image_ledger, image_bank, image_features" in said
    assert "python -m pipeline.run --select '+key:interactions" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--models", "vbrp"], "model 'vbrp' is unknown; there are: modern, dvbpr"),
        (["--modes", "vendor"], "--modes: 'vendor' is unknown; there are: vendor_single"),
        (["--models", "vbpr+epochs=3"], "'epochs=3' is no setting of it"),
        (["--models", "popularity+k=3"], "none, it has no settings"),
        (["--models", "vbpr+k=many"], "baselines: {'k': 'many'}"),
        (["--splits", "0"], "--splits must be at least 1"),
        (["--weeks", "-1"], "--weeks must be at least 0"),
        (["--protocols", "newest"], "--protocols: 'newest' is unknown; there are: random, latest"),
        (["--sort", "recall"], "--sort: 'recall' is unknown; there are: auc,"),
        (["--name", "../elsewhere"], "--name: '../elsewhere' is no folder name"),
        (["--preset", "papre"], "preset 'papre' is unknown"),
        (["--profile", "gpus"], "profile 'gpus': no such file"),
        (["--report-only", "--name", "nothing"], "no cell of this study is finished"),
    ],
)
def test_a_wrong_call_is_said_with_what_is_allowed(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    isolate(monkeypatch, tmp_path / "home")
    assert main(arguments) == WRONG_CALL
    assert said in " ".join(capsys.readouterr().out.split())


def test_every_recommender_finds_its_settings_under_the_paper_preset():
    for name, recommender in in_studies().items():
        found = entry(name, Method())
        assert (found.settings is None) == (recommender.settings_class is None), name
        assert set(recommender.space) <= set(found.plain()), name


def test_a_preset_of_its_own_wins_over_the_calls():
    assert entry("kang2017", Method(preset="paper")).settings.k == 100
    assert entry("paper", Method(preset="kang2017")).settings.k == 50


def test_a_triplet_setting_can_be_varied_beside_the_models_own():
    found = entry("dvbpr+theta_decay=0.1+user_sampling=interaction", Method())
    assert (found.settings.theta_decay, found.triplets.user_sampling) == (0.1, "interaction")


def test_durations_are_said_as_people_say_them():
    assert [duration(s) for s in (7.4, 125, 9000)] == ["7 s", "2 min", "2.5 h"]


def test_a_study_has_one_writer(study: Path, call: Call):
    from pipeline.core.durable import sole_writer

    with sole_writer(study):
        code, said = call(*GRID, "--modes", "vendor_customer", "--models", "popularity")
    assert code == FAILED and "is writing here" in said


def test_wrong_values_in_a_variant_name_the_field():
    with pytest.raises(InputError, match="padding='smae'"):
        entry("dvbpr+padding=smae", Method())


def test_a_variant_of_a_model_that_no_profile_sets_takes_its_own_fields():
    settings = entry("modern+parts=[image,text]+pull=2.0", Method()).settings
    assert (settings.parts, settings.pull) == (("image", "text"), 2.0)
    with pytest.raises(InputError, match=r"parts=\('looks',\); it must be one or more of image, text"):
        entry("modern+parts=[looks]", Method())
    with pytest.raises(InputError, match="'part=image' is no setting of it"):
        entry("modern+part=image", Method())


def test_modern_is_a_cell_like_any_other(study: Path, call: Call):
    spec = "modern+components=16"
    code, said = call(*GRID[:4], "--splits", "1", "--seeds", "1", "--modes", "vendor_customer", "--models", spec)
    assert code == DONE, said
    manifest = json.loads((cell(study, spec) / "manifest.json").read_text())
    assert manifest["settings"]["components"] == 16
    assert {"image", "text", "popularity", "recency"} <= set(manifest["notes"]["weights"])
    assert "item_facts" in manifest["inputs"]
    shutil.rmtree(cell(study, spec))
