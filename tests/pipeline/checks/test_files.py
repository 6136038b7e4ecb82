"""Checks that look at files and at earlier runs: silent over good ones, loud over broken ones."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from pipeline.checks import dataset, freshness, pictures, tables, trained
from pipeline.core import schemas
from pipeline.core.images.ledger import PictureStore
from pipeline.home.io_managers import ParquetTables
from pipeline.home.partitions import image_modes
from pipeline.home.storage import Storage
from pipeline.runtime.tracking import Tracker
from pipeline.views.metadata import table_output
from tests.pipeline.core.images.test_ledger import bad, good


def verdict(check, *assets: dg.AssetsDefinition, home: Path, mode: str | None = None, instance=None) -> Any:
    """What the check says after the assets were materialised into a home."""
    with instance or dg.DagsterInstance.ephemeral() as opened:
        result = dg.materialize(
            [*assets, check],
            instance=opened,
            partition_key=mode,
            resources={
                "io_manager": ParquetTables(base_path=UPath(home / "tables")),
                "storage": Storage(root=str(home)),
            },
            raise_on_error=False,
        )
        return result.get_asset_check_evaluations()[-1]


def seen(found: Any) -> dict[str, Any]:
    return {key: value.value for key, value in found.metadata.items()}


def of_schema(name: str) -> dg.AssetChecksDefinition:
    [check] = [c for c in tables.checks if next(iter(c.check_keys)).asset_key == dg.AssetKey(name)]
    return check


def holding(name: str, table: pa.Table, mode: bool = False, **more: Any) -> dg.AssetsDefinition:
    @dg.asset(name=name, partitions_def=image_modes if mode else None)
    def made() -> dg.Output[pa.Table]:
        return table_output(table, **more)

    return made


def users(*names: str) -> pa.Table:
    return pa.table({"user": pa.array(range(len(names)), pa.int32()), "reviewer_id": list(names)}, schema=schemas.USERS)


def test_every_stored_table_has_a_check_of_its_schema():
    assert {next(iter(c.check_keys)).asset_key.to_user_string() for c in tables.checks} == {*tables.SCHEMAS, "triplets"}


def test_a_table_as_its_schema_says_passes(tmp_path: Path):
    found = verdict(of_schema("users"), holding("users", users("ann", "bo")), home=tmp_path)
    assert found.passed and found.blocking and seen(found)["rows"] == 2


def test_a_table_of_an_image_mode_is_looked_at_in_its_own_partition(tmp_path: Path):
    rows = [{"user": 0, "item": 0, "split": "train", "paired": True}]
    split = pa.Table.from_pylist(rows, schema=schemas.SPLITS)
    found = verdict(of_schema("splits"), holding("splits", split, mode=True), home=tmp_path, mode="vendor_all")
    assert found.passed and seen(found)["rows"] == 1


NULLABLE = pa.table({"user": pa.array([0], pa.int32()), "reviewer_id": ["ann"]})


@pytest.mark.parametrize(
    ("name", "table", "what", "said"),
    [
        ("users", users("ann").drop_columns(["user"]), "missing_columns", ["user"]),
        ("users", users("ann").append_column("age", pa.array([1])), "columns_of_no_schema", ["age"]),
        ("users", NULLABLE, "other_types", ["user: int32, expected int32 without nulls"]),
        ("users", users("ann", "ann"), "rows_with_a_key_twice", 1),
    ],
)
def test_a_file_that_is_not_as_its_schema_says_fails_and_says_how(tmp_path: Path, name, table, what, said):
    path = tmp_path / "t.parquet"
    pq.write_table(table, path)
    found = tables.validate(name, path, None)
    value = found.metadata[what].value
    assert not found.passed
    assert value == said if isinstance(said, int) else said[0] in value


def test_a_word_that_no_list_has_fails(tmp_path: Path):
    rows = [{"user": 0, "item": 0, "split": "tets", "paired": True}]
    pq.write_table(pa.Table.from_pylist(rows, schema=schemas.SPLITS), tmp_path / "s.parquet")
    found = tables.validate("splits", tmp_path / "s.parquet", None)
    assert not found.passed and found.metadata["unknown_words"].value == ["split: 'tets'"]


def test_half_a_file_and_another_files_rows_fail(tmp_path: Path):
    path = tmp_path / "u.parquet"
    pq.write_table(users("ann", "bo"), path)
    assert tables.validate("users", path, 2).passed
    assert not tables.validate("users", path, 3).passed
    path.write_bytes(path.read_bytes()[:-20])
    assert not tables.validate("users", path, 2).passed


def fetched(home: Path, broken: int = 0) -> tuple[PictureStore, dg.AssetsDefinition]:
    """A store of two pictures and some broken URLs, and the ledger that tells of them."""
    store = PictureStore(home / "pictures")
    for name in ("a", "b"):
        row, data = good(name, name.encode() * 100)
        store.add(row, data)
    for number in range(broken):
        store.add(bad(f"x{number}", "http_404"))
    store.flush()
    table = store.ledger()
    return store, holding("image_ledger", table, broken_share=broken / table.num_rows)


def test_pictures_that_are_what_was_fetched_pass(tmp_path: Path):
    _, ledger = fetched(tmp_path)
    found = verdict(pictures.every_picture_can_be_read, ledger, home=tmp_path)
    assert found.passed and found.blocking and seen(found)["pictures"] == 2


def test_a_picture_whose_bytes_changed_fails(tmp_path: Path):
    store, ledger = fetched(tmp_path)
    [shard] = store.folder.glob("pictures-*.parquet")
    shard.write_bytes(shard.read_bytes().replace(b"a" * 100, b"a" * 99 + b"!"))
    found = verdict(pictures.every_picture_can_be_read, ledger, home=tmp_path)
    assert not found.passed and seen(found)["unreadable"] and "materialise image_ledger" in seen(found)["mend"]


def test_a_picture_under_another_ones_name_fails(tmp_path: Path):
    store, ledger = fetched(tmp_path)
    [shard] = store.folder.glob("pictures-*.parquet")
    table = pq.read_table(shard)
    swapped = table.set_column(1, schemas.PICTURES.field("bytes"), table["bytes"].take(pa.array([1, 0])))
    pq.write_table(swapped, shard, write_page_checksum=True)
    found = verdict(pictures.every_picture_can_be_read, ledger, home=tmp_path)
    assert not found.passed and seen(found)["damaged"] == 2


def test_a_picture_whose_shard_is_gone_fails(tmp_path: Path):
    store, ledger = fetched(tmp_path)
    next(store.folder.glob("pictures-*.parquet")).unlink()
    found = verdict(pictures.every_picture_can_be_read, ledger, home=tmp_path)
    assert not found.passed and seen(found)["missing"] == 2


def test_many_more_broken_urls_than_at_the_last_run_warn(tmp_path: Path):
    told = []
    with dg.DagsterInstance.ephemeral() as instance:
        for broken in (0, 0, 30):
            _, ledger = fetched(tmp_path, broken)
            result = dg.materialize(
                [ledger, pictures.broken_share_is_as_before],
                instance=instance,
                resources={"io_manager": ParquetTables(base_path=UPath(tmp_path / "tables"))},
            )
            told += result.get_asset_check_evaluations()
    assert [found.passed for found in told] == [True, True, False]
    assert seen(told[0])["skipped"] and not told[2].blocking
    assert seen(told[2])["broken_share"] > 0.9 and seen(told[2])["last_run"] == 0


def pictured(*rows: tuple[int, str]) -> dg.AssetsDefinition:
    """The catalogue of (item, content)."""
    table = [
        {"image": n, "bank_row": n, "item": item, "source": "vendor", "position": 0, "sha256": sha}
        for n, (item, sha) in enumerate(rows)
    ]
    return holding("catalogue", pa.Table.from_pylist(table, schema=schemas.CATALOGUE), mode=True)


def hold_out(*rows: tuple[int, int, str]) -> dg.AssetsDefinition:
    table = [{"user": user, "item": item, "split": split, "paired": True} for user, item, split in rows]
    return holding("splits", pa.Table.from_pylist(table, schema=schemas.SPLITS), mode=True)


def clusters(home: Path, **of: int | None) -> None:
    rows = [
        {"bank_row": n, "sha256": sha, "phash": n, "cluster": c, "cluster_items": 1}
        for n, (sha, c) in enumerate(of.items())
    ]
    (home / "tables").mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows, schema=schemas.NEAR_DUPLICATES)
    pq.write_table(table, home / "tables" / "near_duplicates.parquet")


SPLIT = ((0, 0, "train"), (0, 1, "test"), (1, 2, "train"), (1, 1, "test"))


def test_a_near_duplicate_that_gives_a_held_out_item_away_warns(tmp_path: Path):
    clusters(tmp_path, a=0, b=0, c=None)
    assets = pictured((0, "a"), (1, "b"), (2, "c")), hold_out(*SPLIT)
    found = verdict(dataset.few_near_duplicates_cross_the_split, *assets, home=tmp_path, mode="vendor_all")
    assert not found.passed and not found.blocking
    assert seen(found)["given_away"] == 1 and seen(found)["held_out_pairs"] == 2


def test_near_duplicates_within_an_item_or_of_another_users_items_pass(tmp_path: Path):
    clusters(tmp_path, a=0, b=1, c=2, d=1)
    assets = pictured((0, "a"), (1, "b"), (1, "d"), (2, "c"), (3, "a")), hold_out(*SPLIT, (2, 3, "train"))
    found = verdict(dataset.few_near_duplicates_cross_the_split, *assets, home=tmp_path, mode="vendor_all")
    assert found.passed and seen(found)["given_away"] == 0


def test_without_near_duplicates_the_check_says_that_it_looked_at_nothing(tmp_path: Path):
    assets = pictured((0, "a")), hold_out((0, 0, "train"))
    found = verdict(dataset.few_near_duplicates_cross_the_split, *assets, home=tmp_path, mode="vendor_all")
    assert found.passed and "not been materialised" in seen(found)["skipped"]


@pytest.mark.parametrize(("fakes", "reals", "good"), [(0.4, 0.5, True), (0.2, 0.5, False), (float("nan"), 0.5, False)])
def test_a_generator_that_draws_one_thing_warns(fakes: float, reals: float, good: bool):
    @dg.asset(name="generator_evaluation")
    def made() -> dg.MaterializeResult:
        figures = {"diversity_ssim": fakes, "real_diversity_ssim": reals}
        return dg.MaterializeResult(metadata={"figures": dg.MetadataValue.json(figures)})

    result = dg.materialize([made, trained.the_generator_has_not_collapsed])
    [found] = result.get_asset_check_evaluations()
    assert found.passed is good and found.severity == dg.AssetCheckSeverity.WARN
    assert seen(found)["expected_at_least"] == pytest.approx(0.25)


FIGURES = {"test_auc": 0.70, "test_auc_ci95_low": 0.69, "test_auc_ci95_high": 0.71}


@pytest.mark.parametrize(
    ("made", "metrics", "auc", "good", "said"),
    [
        ("", {}, 0.60, True, "no version of the registered model is champion"),
        ("now", FIGURES, 0.60, True, "this model is the champion"),
        ("old", {}, 0.60, True, "not in this MLflow"),
        ("old", FIGURES, 0.69, True, None),  # within 0.014, the noise of both
        ("old", FIGURES, 0.68, False, None),
        ("old", FIGURES, 0.80, True, None),
    ],
)
def test_a_model_below_the_champion_by_more_than_the_noise_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made, metrics, auc, good, said
):
    asked = []
    monkeypatch.setattr(trained, "champion", lambda _, name: asked.append(name) or ((made, metrics) if made else None))

    @dg.asset(name="recommender_evaluation", partitions_def=image_modes)
    def evaluated() -> dg.MaterializeResult:
        figures = {"dvbpr": {"test": {"auc": auc, "auc_ci95": [auc - 0.01, auc + 0.01]}}}
        return dg.MaterializeResult(metadata={"figures": dg.MetadataValue.json(figures)})

    storage = Storage(root=str(tmp_path))
    storage.model("recommender", "now", "vendor_all").finish({"asset": "dvbpr", "inputs": {}})
    tracker = Tracker(tracking_uri="", artifact_root="")
    result = dg.materialize(
        [evaluated, trained.not_below_the_champion],
        partition_key="vendor_all",
        resources={"storage": storage, "tracker": tracker},
    )
    [found] = result.get_asset_check_evaluations()
    assert asked == ["atelier-recommender-vendor_all"]
    assert found.passed is good and not found.blocking
    assert said is None or said in seen(found)["skipped"]
    if said is None:
        assert seen(found)["expected_at_least"] == pytest.approx(0.70 - 0.01414, abs=1e-4)


def test_raw_files_that_nobody_looked_at_lately_warn_once(monkeypatch: pytest.MonkeyPatch):
    @dg.observable_source_asset
    def raw_reviews() -> dg.DataVersion:
        return dg.DataVersion("1")

    [check] = [c for c in freshness.checks if next(iter(c.check_keys)).asset_key == dg.AssetKey("raw_reviews")]
    with dg.DagsterInstance.ephemeral() as instance:

        def verdict_now() -> bool:
            result = dg.materialize([raw_reviews, check], instance=instance, selection=dg.AssetSelection.checks(check))
            return result.get_asset_check_evaluations()[0].passed

        def asked(cursor: str | None) -> tuple[int, str]:
            found = freshness.sensor(dg.build_sensor_context(instance=instance, cursor=cursor))
            return len(found.run_requests or []), found.cursor

        assert not freshness.is_stale(instance, "raw_reviews")  # a new home
        instance.report_runless_asset_event(dg.AssetObservation("raw_reviews"))
        assert verdict_now() and asked(None) == (0, "[]")
        monkeypatch.setattr(freshness, "OBSERVED_WITHIN", timedelta(seconds=-1))
        assert not verdict_now()
        assert asked("[]") == (1, '["raw_reviews"]')
        assert asked('["raw_reviews"]') == (0, '["raw_reviews"]')
