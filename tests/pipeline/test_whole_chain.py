"""One whole run, from raw files to recommendations and designs, through the command, Dagster and MLflow."""

import json
import re
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from pipeline.build import build_definitions
from pipeline.checks import dataset, pictures, tables
from pipeline.core import schemas
from pipeline.home.io_managers import SCHEMAS, conform
from pipeline.home.partitions import image_modes
from pipeline.home.storage import Storage
from pipeline.runtime.summary import LatestMetadata
from pipeline.settings.assets import DesignTradeoffSettings
from pipeline.settings.method import Method
from pipeline.study.generator_sources import compare
from pipeline.views.metadata import THUMBNAIL_BYTES
from tests.pipeline.conftest import TINY, Home, materialise

MODES = image_modes.get_partition_keys()
BY_MODE = ("splits", "catalogue", "recommender_evaluation", "recommendations")
BASELINES = (
    "random", "popularity", "popularity_zero", "popularity_recent", "picture_count", "shares", "item_knn", "ials",
    "bpr_mf", "vbpr", "vbpr_visual", "visual_neighbours", "visual_neighbours_prior", "visual_neighbours_best",
)  # fmt: skip
# Their scores are no product of a user's and an item's vector.
NO_FACTORS = {"visual_neighbours_best": "neighbours.npz", "item_knn": "item_knn.npz"}
METRICS = {
    "auc", "auc_ci95", "auc_strict", "auc_sampled100", "auc_picture", "cold_auc", "cold_auc_ci95", "cold_users",
    "cold_among_unseen", "cold_among_unseen_ci95", "warm_auc", "warm_auc_ci95", "warm_users", "warm_among_seen",
    "warm_among_seen_ci95", "auc_category", "auc_category_ci95", "category_users", "held_out", "recall_at_10",
    "recall_at_50", "hit_at_10", "hit_at_50", "ndcg_at_10", "ndcg_at_10_ci95", "ndcg_at_50", "ndcg_at_100",
    "ndcg_at_100_ci95", "map_at_10", "map_at_12", "map_at_50", "mrr", "novelty_at_10", "coverage_at_10", "gini_at_10",
}  # fmt: skip


def test_every_table_keeps_its_schema(finished: Home):
    for name, schema in SCHEMAS.items():
        for mode in MODES if name in BY_MODE else [None]:
            assert finished.table(name, mode).schema.equals(schema), (name, mode)
    for mode in MODES:
        assert finished.table("triplets", mode).schema.equals(schemas.triplets(1))
        conform("triplets", finished.table("triplets", mode))


def test_users_and_items_of_every_mode_are_of_the_five_core(finished: Home):
    users, items = (set(finished.table(f"{name}s")[name].to_pylist()) for name in ("user", "item"))
    pairs = set(zip(*finished.table("interactions").select(["user", "item"]).to_pydict().values(), strict=True))
    for mode in MODES:
        split = finished.table("splits", mode)
        assert set(zip(*split.select(["user", "item"]).to_pydict().values(), strict=True)) <= pairs
        assert set(split["user"].to_pylist()) <= users
        assert set(finished.table("catalogue", mode)["item"].to_pylist()) <= items


def test_triplets_name_pictures_of_the_mode_and_never_rank_an_item_above_itself(finished: Home):
    for mode in MODES:
        triplets, item = finished.table("triplets", mode), finished.table("catalogue", mode)["item"].to_numpy()
        positive = triplets["positive"].to_numpy()
        negative = triplets["negative"].combine_chunks().flatten().to_numpy()
        assert (item[positive] != item[negative]).all()
        split = finished.table("splits", mode).to_pandas()
        train = split[split["split"] == "train"]
        touched = set(zip(train["user"], train["item"], strict=True))
        user = triplets["user"].to_numpy()
        assert set(zip(user, item[positive], strict=True)) <= touched
        assert not set(zip(user, item[negative], strict=True)) & touched


def by_hand(folder, user: int, split: str, among: list[int] | None = None) -> float:
    """A user's exact AUC from the files in a model's folder, with numpy alone: share of untouched items below.

    among: the items that count, all where not given.
    """
    with np.load(folder / "factors.npz") as f:
        users, items, theta, item, bias = (f[n] for n in ("users", "items", "theta", "item", "item_bias"))
    splits = pq.read_table(folder / "splits.parquet").to_pandas()
    own = splits[splits["user"] == user]
    held_out = int(own[own["split"] == split]["item"].iloc[0])
    score = theta[np.flatnonzero(users == user)[0]].astype(np.float64) @ item.T.astype(np.float64) + bias
    untouched = ~np.isin(items, own["item"]) & (True if among is None else np.isin(items, among))
    target = score[np.flatnonzero(items == held_out)[0]]
    below, equal = (score[untouched] < target).sum(), (score[untouched] == target).sum()
    return float((below + equal / 2) / untouched.sum()) if untouched.any() else float("nan")


@pytest.mark.parametrize("mode", MODES)
def test_anyone_can_recompute_the_auc_from_a_models_folder_with_numpy_alone(finished: Home, mode: str):
    evaluated = finished.table("recommender_evaluation", mode).to_pandas()
    folders = {"dvbpr": finished.model("recommender", mode)}
    made = finished.model("baselines", mode)
    folders |= {name: made / name for name in BASELINES if name not in NO_FACTORS}
    assert all((made / name / file).is_file() for name, file in NO_FACTORS.items())
    for name, folder in folders.items():
        for split in ("validation", "test"):
            rows = evaluated[(evaluated["model"] == name) & (evaluated["split"] == split)]
            for row in rows.head(4).itertuples():
                assert by_hand(folder, row.user, split) == pytest.approx(row.auc, abs=2e-3), (name, split, row.user)


def test_the_auc_within_a_product_type_ranks_items_of_that_type_alone(finished: Home):
    products = finished.table("products").to_pandas().set_index("asin")["categories"]
    kinds = {
        row.item: list(products.get(row.asin, ()))[-1:] for row in finished.table("items").to_pandas().itertuples()
    }
    folder = finished.model("recommender", "vendor_all")
    splits = finished.table("splits", "vendor_all").to_pandas()
    hidden = splits[splits["split"] == "test"].set_index("user")["item"]
    evaluated = finished.table("recommender_evaluation", "vendor_all").to_pandas()
    rows = evaluated[(evaluated["model"] == "dvbpr") & (evaluated["split"] == "test")]
    assert 0 < rows["auc_category"].notna().sum() <= len(rows)
    for row in rows.itertuples():
        like = [item for item, kind in kinds.items() if kind and kind == kinds[hidden[row.user]]]
        expected = by_hand(folder, row.user, "test", like)
        assert expected == pytest.approx(row.auc_category, abs=2e-3, nan_ok=True), row.user


def test_coverage_and_gini_are_of_the_lists_in_which_the_held_out_items_are_looked_for(finished: Home):
    figures = finished.summary["modes"]["vendor_all"]["models"]
    items = finished.summary["modes"]["vendor_all"]["items"]
    split = finished.table("splits", "vendor_all").to_pandas()
    with np.load(finished.model("recommender", "vendor_all") / "factors.npz") as f:
        score, users, rows = f["theta"] @ f["item"].T + f["item_bias"], f["users"], f["items"]
    for user, own in split.groupby("user"):
        taken = own.loc[own["split"] != "test", "item"]
        score[np.flatnonzero(users == user)[0], np.isin(rows, taken)] = -np.inf
    shown = np.argsort(-score, 1)[:, :10]
    assert figures["dvbpr"]["test"]["coverage_at_10"] == pytest.approx(len(np.unique(shown)) / items, abs=2 / items)
    assert 0 < figures["random"]["test"]["gini_at_10"] < figures["popularity"]["test"]["gini_at_10"] < 1


def test_an_items_factors_are_the_mean_of_its_pictures(finished: Home):
    folder = finished.model("recommender", "vendor_all")
    catalogue = pq.read_table(folder / "catalogue.parquet").to_pandas()
    with np.load(folder / "factors.npz") as f:
        assert len(f["phi"]) == len(catalogue)
        for row, item in enumerate(f["items"][:5]):
            pictures = catalogue.loc[catalogue["item"] == item, "image"].to_numpy()
            np.testing.assert_allclose(f["item"][row], f["phi"][pictures].mean(0), rtol=1e-4, atol=1e-6)


def test_recommendations_are_ranked_and_never_what_the_user_has(finished: Home):
    for mode in MODES:
        picks = finished.table("recommendations", mode).to_pandas()
        split = finished.table("splits", mode).to_pandas()
        assert set(picks["user"]) == set(split["user"])
        owned = set(zip(split["user"], split["item"], strict=True))
        assert not owned & set(zip(picks["user"], picks["item"], strict=True))
        for _, rows in picks.groupby("user"):
            assert rows["rank"].tolist() == [1, 2, 3, 4, 5]
            assert rows["score"].is_monotonic_decreasing


def test_the_comparison_has_every_model_of_every_mode_and_split(finished: Home):
    rows = finished.table("recommender_comparison").to_pylist()
    models = {"dvbpr", "planted_best", *BASELINES}
    wanted = {(mode, model, split) for mode in MODES for model in models for split in ("validation", "test")}
    assert {(row["mode"], row["model"], row["split"]) for row in rows} == wanted
    assert len(rows) == len(wanted)
    for row in rows:
        assert row["auc_low"] <= row["auc"] <= row["auc_high"]
        assert (row["difference_to_main"] is None) == (row["model"] == "dvbpr")


def test_the_planted_tastes_stand_where_the_catalogue_says(finished: Home):
    # Another draw of held-out purchases than the catalogue's own: near it, not equal.
    planted = finished.summary["modes"]["vendor_all"]["models"]["planted_best"]["test"]["auc"]
    assert planted == pytest.approx(finished.planted_auc, abs=0.12)


def test_the_summary_has_the_documented_keys(finished: Home):
    summary = finished.summary
    assert {
        "reviews", "rejected_lines", "users", "items", "five_core_users", "five_core_items", "duplicate_reviews",
        "image_urls", "images_ok", "images_broken",
    } <= {key for key, value in summary["data"].items() if value is not None}  # fmt: skip
    assert set(summary["modes"]) == set(MODES)
    for found in summary["modes"].values():
        assert {"users", "items", "item_images", "train_interactions", "triplets_per_epoch", "models"} <= set(found)
        assert {"dvbpr", *BASELINES} <= set(found["models"])
        for splits in found["models"].values():
            assert set(splits) == {"validation", "test"}
            assert all(set(figures) >= METRICS for figures in splits.values())
    assert {"tracking_uri", "experiment", "run_ids"} <= set(summary["mlflow"])
    assert all(seconds >= 0 for seconds in summary["seconds"].values())
    assert {"reviews", "image_ledger", "dvbpr[vendor_all]", "recommender_comparison"} <= set(summary["seconds"])


def test_the_summarys_counts_are_the_tables(finished: Home):
    data = finished.summary["data"]
    ledger = finished.table("image_ledger")["reason"].to_pylist()
    assert data["reviews"] == finished.table("reviews").num_rows
    assert data["rejected_lines"] == finished.table("rejects").num_rows > 0
    assert data["five_core_users"] == finished.table("users").num_rows
    assert data["five_core_items"] == finished.table("items").num_rows
    assert data["image_urls"] == len(ledger) == data["images_ok"] + sum(data["images_broken"].values())
    assert data["images_ok"] == ledger.count("ok")
    assert all(data["images_broken"][reason] == ledger.count(reason) for reason in set(ledger) - {"ok"})
    for mode, found in finished.summary["modes"].items():
        assert found["item_images"] == finished.table("catalogue", mode).num_rows
        assert found["triplets_per_epoch"] == finished.table("triplets", mode).num_rows // 2
        loss = found["loss"]
        assert loss["pictured"] + sum(loss["lost"].values()) == loss["items"] == found["surviving"]["items_before"]
        assert sum(loss["lost"].values()) == found["surviving"]["items_without_picture"]
        assert found["train_interactions"] == finished.table("splits", mode)["split"].to_pylist().count("train")


def test_tables_1_and_2_are_metadata_number_by_number_and_beside_the_papers(finished: Home):
    reviews, surviving = finished.table("reviews").to_pandas(), finished.summary["modes"]
    often = reviews.groupby("reviewer_id").filter(lambda rows: len(rows) >= 5)
    with dg.DagsterInstance.from_config(str(finished.folder / "dagster")) as instance:
        core = LatestMetadata(instance).of("interactions")
        ours = {name.removeprefix("table_1_"): value for name, value in core.items() if name.startswith("table_1_")}
        assert ours == {
            "reviews": len(reviews), "users": reviews["reviewer_id"].nunique(), "items": reviews["asin"].nunique(),
            "core_users": often["reviewer_id"].nunique(), "core_items": often["asin"].nunique(),
        }  # fmt: skip
        assert "| 883,636 | – | 186,627 | 2,632 | 17,173 |" in core["table_1"]
        assert f"| **this run** | **{len(reviews)}** |" in core["table_1"]
        assert core["waterfall"].startswith("![picture](data:image/jpeg")
        for mode, found in surviving.items():
            kept, split = LatestMetadata(instance).of("catalogue", mode), LatestMetadata(instance).of("splits", mode)
            wanted = (found["surviving"]["users"], found["surviving"]["item_images"])
            assert (kept["table_2_users"], kept["table_2_item_images"]) == wanted
            assert f"| **this run, {mode}** | **{wanted[0]}** | **{wanted[1]}** |" in kept["table_2"]
            assert "| vendor_customer | 2,377 | 38,053 |" in kept["table_2"]
            assert kept["waterfall"] != split["waterfall"] and len(split["waterfall"]) > 1000


def test_the_summarys_metrics_are_the_means_over_users(finished: Home):
    for mode, found in finished.summary["modes"].items():
        frame = finished.table("recommender_evaluation", mode).to_pandas()
        for (model, split), rows in frame.groupby(["model", "split"]):
            said = found["models"][model][split]
            assert said["auc"] == pytest.approx(rows["auc"].astype(float).mean(), abs=1e-9)
            assert said["cold_users"] == rows["auc_cold"].notna().sum()


def test_every_training_and_evaluation_has_its_own_finished_mlflow_run(finished: Home):
    from mlflow.tracking import MlflowClient

    run_ids = finished.summary["mlflow"]["run_ids"]
    by_mode = [f"{a}[{m}]" for a in ("dvbpr", "baselines", "recommender_evaluation") for m in MODES]
    assert {*by_mode, "recommender_comparison", "lsgan", "generator_evaluation", "personal_designs"} <= set(run_ids)
    assert len(set(run_ids.values())) == len(run_ids)
    client = MlflowClient(tracking_uri=finished.summary["mlflow"]["tracking_uri"])
    runs = client.search_runs(
        [client.get_experiment_by_name(finished.summary["mlflow"]["experiment"]).experiment_id], max_results=1000
    )
    assert {run.info.run_id for run in runs} >= set(run_ids.values())
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_what_mlflow_says_of_dvbpr_is_what_the_summary_says(finished: Home):
    from mlflow.tracking import MlflowClient

    summary = finished.summary
    client = MlflowClient(tracking_uri=summary["mlflow"]["tracking_uri"])
    run = client.get_run(summary["mlflow"]["run_ids"]["recommender_evaluation[vendor_all]"])
    said = summary["modes"]["vendor_all"]["models"]["dvbpr"]["test"]
    assert run.data.metrics["test_auc"] == pytest.approx(said["auc"])
    trained = client.get_run(summary["mlflow"]["run_ids"]["dvbpr[vendor_all]"])
    assert [m.step for m in client.get_metric_history(trained.info.run_id, "validation_auc")] == [1, 2]
    assert trained.inputs.dataset_inputs[0].dataset.name == "triplets[vendor_all]"


def test_every_mode_and_the_generator_have_a_champion_that_mlflow_knows(finished: Home):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=finished.summary["mlflow"]["tracking_uri"])
    told = {mode: finished.summary["modes"][mode]["champion"] for mode in MODES}
    told["generator"] = finished.summary["generator"]["champion"]
    for name, champion in told.items():
        kind = "generator" if name == "generator" else f"recommender-{name}"
        version = client.get_model_version_by_alias(f"atelier-{kind}", "champion")
        assert (champion["registered_model"], champion["champion_version"]) == (version.name, int(version.version))
        trained = finished.folder / "generator" if name == "generator" else finished.folder / "recommender" / name
        assert (trained / version.tags["atelier.model"] / "manifest.json").is_file()


def test_the_comparison_tables_of_all_runs_lie_in_mlflow(finished: Home):
    from mlflow.artifacts import load_dict
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=finished.summary["mlflow"]["tracking_uri"])
    run = client.get_run(finished.summary["mlflow"]["run_ids"]["recommender_comparison"])
    table = load_dict(f"{run.info.artifact_uri}/runs.json")
    rows = [dict(zip(table["columns"], values, strict=True)) for values in table["data"]]
    assert {(row["mode"], row["split"]) for row in rows} == {(m, s) for m in MODES for s in ("validation", "test")}
    for row in rows:
        said = finished.summary["modes"][row["mode"]]["models"]["dvbpr"][row["split"]]
        assert row["champion"] and row["auc"] == pytest.approx(said["auc"], abs=1e-6)
    with dg.DagsterInstance.from_config(str(finished.folder / "dagster")) as instance:
        shown = LatestMetadata(instance).of("recommender_comparison")["runs"]
    assert shown.count("(champion)") == len(MODES)


# What has no head of a table, picture or plot to show, and where it is looked at instead.
NOTHING_TO_SHOW = {
    "baselines": "eight models at once; recommender_evaluation shows what they are worth",
    "recommender_champion": "a decision: the sentence `why`",
    "generator_champion": "a decision: the sentence `why`",
    "modern": "not made: this profile's method trains dvbpr",
    "item_facts": "arrays; its counts are in its metadata",
}
ROWS_WITHOUT_A_TABLE = {"image_bank", "image_features", "item_facts"}  # arrays


def test_every_asset_tells_its_rows_its_columns_and_shows_something_small(finished: Home):
    graph = build_definitions().resolve_asset_graph()
    with dg.DagsterInstance.from_config(str(finished.folder / "dagster")) as instance:
        for asset in graph.asset_nodes:
            name = asset.key.to_user_string()
            for mode in MODES if asset.partitions_def else [None] if asset.is_materializable else []:
                said = LatestMetadata(instance).of(name, mode)
                if name in {*SCHEMAS, "triplets"}:
                    assert said["dagster/row_count"] == finished.table(name, mode).num_rows, name
                    assert all(column.description for column in said["dagster/column_schema"].columns), name
                elif name in ROWS_WITHOUT_A_TABLE:
                    assert said["dagster/row_count"] > 0
                pictures = [v for v in said.values() if isinstance(v, str) and v.startswith("![picture](data:image")]
                assert all(len(picture) < THUMBNAIL_BYTES for picture in pictures), name
                assert (bool(pictures) or "preview" in said) == (name not in NOTHING_TO_SHOW), name


@pytest.mark.parametrize("mode", MODES)
def test_the_figures_of_a_model_card_are_the_evaluations_and_its_counts_the_models(finished: Home, mode: str):
    folder = finished.model("recommender", mode)
    card, of_data = ((folder / name).read_text() for name in ("model_card.md", "data_card.md"))
    evaluated = finished.table("recommender_evaluation", mode).to_pandas()
    own = evaluated[evaluated["model"] == "dvbpr"]
    auc = {split: rows["auc"].astype(float).mean() for split, rows in own.groupby("split")}
    assert f"| AUC | {auc['validation']:.4f} | {auc['test']:.4f} |" in card
    for row in finished.table("recommender_comparison").to_pylist():
        if row["mode"] == mode and row["split"] == "test" and row["model"] != "dvbpr":
            interval = f"{row['auc_low']:.3f} to {row['auc_high']:.3f}"
            assert f" | {row['auc']:.4f} | {interval} | {row['difference_to_main']:.4f}".replace("-", "−") in card
    head = yaml.safe_load(card.split("---")[1])
    [metric] = head["model-index"][0]["results"][0]["metrics"]
    assert metric["value"] == pytest.approx(auc["test"], abs=1e-6)
    splits = pq.read_table(folder / "splits.parquet").to_pandas()
    assert f"| purchases learnt from | {(splits['split'] == 'train').sum():,} |" in of_data
    assert f"| reviews read | {finished.table('reviews').num_rows} |" in of_data
    assert str(finished.folder) not in card + of_data


def test_the_generators_card_has_its_figures_beside_their_floor(finished: Home):
    folder = finished.folder / "generator"
    card = (folder / json.loads((folder / "current.json").read_text())["run"] / "model_card.md").read_text()
    said = finished.summary["generator"]
    agreement, floor, sd = (
        said[name] for name in ("judge_agreement", "real_judge_agreement", "real_judge_agreement_sd")
    )
    assert f"| Recognised by the judge `judge_agreement` | {agreement:.4f} | {floor:.4f} ± {sd:.4f} |" in card
    for count in said["images"].values():
        assert f" | {count} | " in card


def test_a_card_stands_in_mlflow_with_its_training_and_behind_its_version(finished: Home):
    from mlflow.artifacts import load_text
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=finished.summary["mlflow"]["tracking_uri"])
    run = client.get_run(finished.summary["mlflow"]["run_ids"]["dvbpr[vendor_all]"])
    card = (finished.model("recommender", "vendor_all") / "model_card.md").read_text()
    assert load_text(f"{run.info.artifact_uri}/model_card.md") == card
    assert f"`{run.info.run_id}`" in card
    version = client.get_model_version_by_alias("atelier-recommender-vendor_all", "champion")
    decision, _, described = version.description.partition("\n\n***\n\n")
    assert decision.endswith("had no champion.") and described.startswith("# DVBPR")
    assert described in card


def test_cards_written_again_say_the_same(finished: Home):
    before = {path: path.read_text() for path in finished.folder.glob("**/*_card.md") if "mlflow" not in path.parts}
    assert len(before) == 8
    materialise("key:model_cards")
    assert {path: path.read_text() for path in before} == before


def test_every_blocking_check_ran_and_passed(finished: Home):
    made = dg.load_asset_checks_from_modules([dataset, pictures, tables])
    keys = [spec.key for checks in made for spec in checks.check_specs if spec.blocking]
    with dg.DagsterInstance.from_config(str(finished.folder / "dagster")) as instance:
        found = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    assert {key: record.evaluation.passed for key, record in found.items()} == dict.fromkeys(keys, True)
    assert len(keys) > 20


def test_the_generators_figures_carry_their_protocol(finished: Home):
    generator = finished.summary["generator"]
    garments = finished.table("garments").to_pandas()
    training = garments[~garments["held_out"]]["garment_class"].value_counts().to_dict()
    assert generator["images"] == training
    assert any(re.fullmatch(r"kernel_efflite0_32px_n\d+", key) for key in generator["shared_features"])
    assert not any("efflite0" in key for key in generator)
    assert generator["pictures"].keys() == {"compared", "judge", "reference", "floors"}
    judged = {name for name, of in generator["by_class"].items() if "judge_agreement" in of}
    assert len(judged) > 1 and {note.split()[0] for note in generator["notes"]} == training.keys() - judged
    for name in ("judge_agreement", "pixel_recall", "memorisation_ratio_l1", "nearest_l1", "colour_distance"):
        for floor in ("", "real_"):
            assert any(key.startswith(floor + name) for key in generator), floor + name


def test_what_is_discarded_is_counted_by_class_and_reason(finished: Home):
    garments = finished.table("garments").to_pandas()
    with dg.DagsterInstance.from_config(str(finished.folder / "dagster")) as instance:
        said = LatestMetadata(instance).of("garments")
    for name, count in said["counts"].items():
        gone = count["near_duplicate"] + count["other_class"] + count["outlier"]
        assert count["pictures"] - gone == count["kept"] == (garments["garment_class"] == name).sum()


def test_no_product_is_on_both_sides_of_the_generators_hold_out(finished: Home):
    garments = finished.table("garments").to_pandas()
    assert not set(garments[garments["held_out"]]["asin"]) & set(garments[~garments["held_out"]]["asin"])


def test_designs_are_there_for_every_person_and_class(finished: Home):
    designs = finished.table("personal_designs").to_pandas()
    assert finished.summary["designs"]["users"] == designs["user"].nunique() == 3
    assert len(designs) == 3 * 6 * 2  # both starts are kept, as `best` is more
    assert (designs.groupby(["user", "garment_class"])["place"].apply(sorted).map(list) == [[1, 2]] * 18).all()
    judges = min(20, finished.summary["modes"]["vendor_all"]["users"])
    assert (designs["judges"] == judges).all() and designs["own_rank"].between(1, judges).all()
    assert set(designs["nearest_asin"]) <= set(finished.table("garments")["asin"].to_pylist())
    for strip in designs["strip"].unique():
        assert (finished.folder / "lookbook" / "designs" / strip).is_file()
    best = designs[designs["place"] == 1]
    gain = (best["score_after"] - best["score_before"]).mean()
    assert finished.summary["designs"]["preference_gain_mean"] == pytest.approx(gain, abs=1e-6)


def test_every_step_of_every_start_is_a_row_and_kept_designs_have_their_latents(finished: Home):
    steps, designs = finished.table("design_steps").to_pandas(), finished.table("personal_designs").to_pandas()
    assert len(steps) == 3 * 6 * 2 * 3  # users, classes, starts, steps with the start itself
    last = steps[steps["step"] == 2].set_index(["user", "garment_class", "start"])
    for row in designs.itertuples():
        found = last.loc[(row.user, row.garment_class, row.start)]
        assert found["place"] == row.place
        np.testing.assert_array_equal(found["z"], row.z)
        assert found["score"] == pytest.approx(row.score_after, abs=0.05)


def test_realism_is_weighed_against_preference(finished: Home):
    with dg.DagsterInstance.from_config(str(finished.folder / "dagster")) as instance:
        rows = LatestMetadata(instance).of("designs_tradeoff")["rows"]
    assert [row["eta"] for row in rows] == sorted(DesignTradeoffSettings().etas)
    assert (finished.folder / "lookbook" / "pictures" / "tradeoff.png").is_file()


def test_generators_on_vendor_and_on_all_pictures_are_judged_by_the_same_unseen_ones(finished: Home):
    storage, method = Storage(root=str(finished.folder)), Method(profile=str(TINY))
    before = (finished.folder / "generator" / "current.json").read_text()
    found = compare(storage, method, torch.device("cpu"))
    assert set(found.pictures["vendor"]) == {"vendor"} and found.pictures["vendor_customer"]["customer"] > 0
    vendor, both = (found.figures[side] for side in ("vendor", "vendor_customer"))
    for judge in ("unseen_vendor", "unseen_vendor_customer"):
        assert vendor[judge].keys() == both[judge].keys()
        for name, value in vendor[judge].items():
            if name.startswith("floor_"):  # of real pictures alone
                assert both[judge][name] == value, name
    assert (finished.folder / "generator" / "current.json").read_text() == before


def test_the_run_ends_in_a_page(finished: Home):
    page = Path(finished.summary["lookbook"])
    assert page.is_relative_to(finished.folder) and "<html" in page.read_text()
    assert page.as_uri() in finished.said.replace("\n", "")


def test_a_second_run_asks_for_no_picture_and_trains_no_model_again(finished: Home):
    """The picture server is gone by now: one request would show as a failed picture."""
    before = {path: path.stat().st_mtime_ns for path in finished.folder.glob("*/*/*/factors.npz")}
    manifests = {path: json.loads(path.read_text()) for path in finished.folder.rglob("manifest.json")}
    assert len(before) == len(MODES) and len(manifests) == 2 * len(MODES) + 1
    ledger, requests = finished.table("image_ledger"), finished.summary["data"]["picture_requests"]
    assert requests >= ledger.num_rows
    materialise("key:image_ledger or key:dvbpr or key:lsgan")
    assert finished.summary["data"]["picture_requests"] == 0
    assert finished.table("image_ledger").equals(ledger)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {path: json.loads(path.read_text()) for path in finished.folder.rglob("manifest.json")} == manifests


def test_held_out_pictures_are_of_the_same_items_and_reward_memory_where_items_have_several(
    finished: Home, tmp_path: Path
):
    """The last test of this module, as the home holds another split from here on."""
    before, hidden = finished.summary["modes"], hidden_items(finished)
    profile = tmp_path / "by_picture.yaml"
    settings = yaml.safe_load(TINY.read_text())
    settings["ops"]["splits"] = {"config": {"split_unit": "image"}}
    settings["ops"]["dvbpr"]["config"]["warm_start"] = False  # the same pictures must give the same model
    profile.write_text(yaml.safe_dump(settings))
    said = materialise("key:splits or key:catalogue or key:triplets or group:recommender", profile)
    assert "split_unit is image" in said
    after = finished.summary["modes"]
    assert {mode: found["split_unit"] for mode, found in after.items()} == dict.fromkeys(MODES, "image")
    assert hidden_items(finished) == hidden
    assert after["vendor_single"]["models"] == before["vendor_single"]["models"]  # one picture an item: nothing leaks
    for mode in ("vendor_all", "vendor_customer"):
        gain = {
            name: after[mode]["models"][name]["test"]["auc"] - before[mode]["models"][name]["test"]["auc"]
            for name in ("bpr_mf", "planted_best")
        }
        assert gain["planted_best"] == 0 and gain["bpr_mf"] > 0.1, mode
        triplets, split = (finished.table(name, mode).to_pandas() for name in ("triplets", "splits"))
        positive = finished.table("catalogue", mode).to_pandas().iloc[triplets["positive"]]
        alone = split.dropna(subset="sha256")
        held_out = set(zip(alone["user"], alone["item"], alone["sha256"], strict=True))
        assert held_out
        assert not held_out & set(zip(triplets["user"], positive["item"], positive["sha256"], strict=True))


def hidden_items(home: Home) -> dict[str, set[tuple[int, str, int]]]:
    """Of each mode, the (user, split, item) that were ranked."""
    found = {}
    for mode in MODES:
        ranked = home.table("recommender_evaluation", mode).to_pandas()[["user", "split"]].drop_duplicates()
        splits = home.table("splits", mode).to_pandas()[["user", "split", "item"]]
        found[mode] = set(splits.merge(ranked, on=["user", "split"]).itertuples(index=False, name=None))
    return found
