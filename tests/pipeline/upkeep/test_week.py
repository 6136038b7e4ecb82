"""A week of a shop: seven drops, and each day exactly the assets that the drop affects are made again."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from pipeline.runtime.plan import plan
from pipeline.runtime.summary import LatestMetadata
from tests.pipeline.conftest import TINY, isolate
from tests.pipeline.week_shop import ITEMS, MODES, PictureHost, Shop, purchases

pytestmark = pytest.mark.slow
INGEST = {"reviews", "products", "rejects"}
CORE = {"interactions", "users", "items"}
PICTURES = {"image_urls", "image_ledger", "image_bank", "image_features"}
WHOLE = {"recommender_comparison", "model_cards", "lookbook"}
BEGUN = (
    "group:ingest or key:image_urls or key:image_ledger or key:image_bank or key:image_features or group:dataset "
    "or group:recommender or group:report"
)  # fmt: skip


def by_mode(*names: str, modes: tuple[str, ...] = MODES) -> set[str]:
    return {f"{name}[{mode}]" for name in names for mode in modes}


DATASET, TRAINED = ("splits", "catalogue", "triplets"), ("dvbpr", "baselines", "recommender_champion")
EVALUATED = ("recommender_evaluation", "recommendations")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Make the shop as of Sunday night: a person has made everything once."""
    folder = tmp_path_factory.mktemp("week")
    (folder / "drops").mkdir()
    with (
        pytest.MonkeyPatch.context() as patch,
        dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("instance"))) as instance,
        PictureHost() as host,
    ):
        isolate(
            patch, folder / "home", ATELIER_REVIEWS=str(folder / "drops"),
            ATELIER_PRODUCTS=str(folder / "products.jsonl"), ATELIER_ALLOW_HOSTS=host.host, ATELIER_PROFILE=str(TINY),
        )  # fmt: skip
        patch.setattr("pipeline.upkeep.drops.BACKOFF", (3600.0, 3600.0))  # longer than the test
        shop = Shop(folder, host, instance)
        shop.write_products()
        rows = [shop.review(f"A{user}", item) for user, item in purchases()]
        rows += [shop.review(f"STRANGER{n}", n, f"{n}a", f"{n}b") for n in range(0, ITEMS, 2)]
        shop.drop("0-history", rows)
        definitions = shop.definitions()
        definitions.resolve_job_def("observe_sources").execute_in_process(instance=instance)
        for segment in plan(definitions, BEGUN):
            if segment.partition in (None, *MODES):
                definitions.resolve_job_def("everything").execute_in_process(
                    instance=instance, asset_selection=list(segment.assets), partition_key=segment.partition
                )
        yield shop


def last(shop: Shop, asset: str, mode: str | None = None) -> dict:
    return LatestMetadata(shop.instance).of(asset, mode)


def files_read(shop: Shop) -> tuple[int, int]:
    """Return the number of review files that the last ingest read, and the number of all review files."""
    metadata = last(shop, "reviews")
    return metadata["files"] - metadata["files_known"], metadata["files"]


def test_a_week_of_drops(shop: Shop):
    """All days in one test, because each day starts from the day before."""
    asked_before = dict(shop.host.asked)
    everything = len(asked_before)
    assert everything == 2 * ITEMS + ITEMS and set(asked_before.values()) == {1}

    # The files are observed for the first time and are unchanged, so nothing is made.
    day = shop.day()
    assert (day.observed, day.made, day.failed) == (1, {}, [])

    # Monday: reviews by people who bought one item. They are read and counted on the page; the 5-core does not change.
    shop.drop("1-monday", [shop.review("NEWCOMER1", 3), shop.review("NEWCOMER2", 4)])
    day = shop.day()
    assert set(day.made) == INGEST | CORE | {"image_urls", "lookbook"}
    assert files_read(shop) == (1, 2)

    # Tuesday: an empty file. It is not even observed.
    (shop.drops / "2-tuesday.jsonl.gz").touch()
    day = shop.day()
    assert (day.observed, day.made, day.failed) == (0, {}, [])

    # Wednesday: a copy of Monday's file. It is observed and has nothing new, so nothing is made.
    shutil.copyfile(shop.drops / "1-monday.jsonl.gz", shop.drops / "3-wednesday.jsonl.gz")
    day = shop.day()
    assert (day.observed, day.made, day.failed) == (1, {}, [])

    # Thursday: a truncated file. Ingest fails once; the assets downstream stay as they are.
    friday = [shop.review(f"A{user}", item) for user, item in unbought(2)]
    friday.append(shop.review("NEWCOMER3", 5, "new"))
    path = shop.drop("4-thursday", [*friday, "<p>Service temporarily slow</p>"])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    day = shop.day()
    assert (day.observed, day.made) == (1, {})
    assert sorted(day.failed) == sorted(INGEST)
    assert shop.day().failed == []

    # Friday: the file is whole, with 1% new reviews and an invalid line. Only its photo is fetched; both modes train.
    path.write_bytes(whole)
    before, served = ({mode: run_of(shop, mode, name) for mode in MODES} for name in ("current-dvbpr", "champion"))
    day = shop.day()
    assert set(day.made) == (INGEST | CORE | PICTURES | by_mode(*DATASET, *TRAINED, *EVALUATED) | WHOLE)
    assert set(day.made.values()) == {1}, "a stage was made twice"
    new = shop.host.asked - shop.host.asked.__class__(asked_before)
    assert new == {"/photo-new.jpg": 1} and sum(new.values()) <= 0.05 * everything
    assert last(shop, "rejects")["dagster/row_count"] == 1
    assert files_read(shop) == (1, 4)  # Wednesday's file was read on Thursday, before the truncated one
    for mode in MODES:
        assert last(shop, "dvbpr", mode)["begun"].startswith(f"from {before[mode]}; 0 of ")
        assert last(shop, "recommender_evaluation", mode)["held_out_pairs_trained_on_before"] == 0
        # With so few users the comparison decides nothing, so the picks stay those of the champion.
        assert run_of(shop, mode, "current-dvbpr") != before[mode]
        assert last(shop, "recommendations", mode)["model"] == served[mode] == run_of(shop, mode, "champion")
        assert last(shop, "recommender_champion", mode)["champion_model"] == served[mode]

    # Saturday: a photo and no purchase. The other mode does not change, and one photo is not enough for a training.
    shop.drop("6-saturday", [shop.review("NEWCOMER4", 6, "newer")])
    trained = {mode: run_of(shop, mode, "current-dvbpr") for mode in MODES}
    day = shop.day()
    customer = ("vendor_customer",)
    assert set(day.made) == (
        INGEST | CORE | PICTURES | by_mode("splits", "catalogue") | by_mode("triplets", modes=customer)
    )
    assert {mode: run_of(shop, mode, "current-dvbpr") for mode in MODES} == trained
    assert files_read(shop) == (1, 5)

    # Sunday: a product without customers' photos is removed from the shop. Both modes train again without it.
    shop.write_products(without=removed_item())
    day = shop.day()
    assert set(day.made) == (
        INGEST
        | {"image_urls", "image_ledger", "image_bank", "item_facts"}
        | by_mode(*DATASET, *TRAINED, *EVALUATED)
        | WHOLE
    )
    assert files_read(shop) == (0, 5)
    assert len(shop.host.asked) == everything + 2 and set(shop.host.asked.values()) == {1}
    assert shop.day().made == {}


def unbought(count: int) -> list[tuple[int, int]]:
    """Choose one new purchase for each of the first `count` users."""
    known = set(purchases())
    return [(user, next(item for item in range(ITEMS) if (user, item) not in known)) for user in range(count)]


def removed_item() -> int:
    """Choose an item without customers' photos that several users bought."""
    bought = [item for _, item in purchases()]
    return max(set(range(1, ITEMS, 2)) - {5}, key=bought.count)


def run_of(shop: Shop, mode: str, pointer: str) -> str:
    return json.loads((Path(shop.folder) / "home" / "recommender" / mode / f"{pointer}.json").read_text())["run"]
