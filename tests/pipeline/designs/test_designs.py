"""Designs: made only with models of this very catalogue and these very garments."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from models.design.settings import DesignSettings
from pipeline.core import schemas
from pipeline.core.errors import InputError
from pipeline.core.generator import generation
from pipeline.core.generator.garment_classes import carrying
from pipeline.core.tables import table_digest
from pipeline.designs.designs import open_studio
from pipeline.designs.tables import figures
from pipeline.home.storage import Storage
from pipeline.settings.assets import DesignTargetSettings

CPU = torch.device("cpu")
CLASSES = ("men_tops", "women_tops")


def garments(count: int = 2, classes: tuple[str, ...] = CLASSES) -> pa.Table:
    rows = [
        {"garment": n, "asin": f"B{n}", "item": n, "garment_class": "men_tops", "source": "vendor", "sha256": str(n),
         "held_out": False}
        for n in range(count)
    ]  # fmt: skip
    return carrying(pa.Table.from_pylist(rows, schema=schemas.GARMENTS), classes)


def catalogue(*shas: str) -> pa.Table:
    rows = [
        {"image": n, "bank_row": n, "item": n, "source": "vendor", "position": 0, "sha256": sha}
        for n, sha in enumerate(shas)
    ]
    return pa.Table.from_pylist(rows, schema=schemas.CATALOGUE)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """A home whose recommender was trained on catalogue `a`, its generator on two garments."""
    storage = Storage(root=str(tmp_path))
    table = catalogue("a")
    (storage.tables / "catalogue").mkdir(parents=True)
    pq.write_table(table, storage.tables / "catalogue" / "vendor_all.parquet")
    inputs = {"catalogue": table_digest(table)}
    storage.model("recommender", "r1", "vendor_all").finish({"asset": "dvbpr", "inputs": inputs})
    storage.model("generator", "g1").finish({"asset": "lsgan", "inputs": generation.inputs(garments())})
    return storage


def refusal(storage: Storage, mode: str = "vendor_all", table: pa.Table | None = None) -> str:
    with pytest.raises(InputError) as caught:
        open_studio(
            storage, DesignTargetSettings(mode=mode), DesignSettings(), garments() if table is None else table, CPU
        )
    return str(caught.value)


def test_a_recommender_of_another_catalogue_is_refused_with_both_digests(storage: Storage):
    now = catalogue("a", "b")
    pq.write_table(now, storage.tables / "catalogue" / "vendor_all.parquet")
    said = refusal(storage)
    assert f"catalogue {table_digest(catalogue('a'))}, now {table_digest(now)}" in said
    assert "materialise dvbpr again" in said


def test_a_generator_of_other_garments_is_refused_with_both_digests(storage: Storage):
    said = refusal(storage, table=garments(3))
    assert f"garments {table_digest(garments())}, now {table_digest(garments(3))}" in said
    assert "materialise lsgan again" in said


def test_a_generator_of_other_classes_is_refused_with_both_lists(storage: Storage):
    said = refusal(storage, table=garments(classes=(*CLASSES, "women_dresses")))
    assert "classes men_tops, women_tops, now men_tops, women_tops, women_dresses" in said
    assert "materialise lsgan again" in said


def test_a_champion_of_earlier_garments_draws_but_never_one_of_other_classes(storage: Storage):
    later = garments(3)
    newest = storage.model("generator", "g2")
    newest.finish({"asset": "lsgan", "inputs": generation.inputs(later)})
    newest.set_champion("g1")
    with pytest.raises(FileNotFoundError, match="g1"):  # it is let in; its weights are not there
        open_studio(storage, DesignTargetSettings(mode="vendor_all"), DesignSettings(), later, CPU)
    said = refusal(storage, table=garments(3, classes=CLASSES[::-1]))
    assert "classes men_tops, women_tops, now women_tops, men_tops" in said


def test_without_a_recommender_of_the_chosen_mode_it_says_what_to_make(storage: Storage):
    assert "materialise the recommender for image mode vendor_customer first" in refusal(
        storage, mode="vendor_customer"
    )


def test_without_a_generator_it_says_what_to_make(storage: Storage):
    (storage.parent("generator") / "current.json").unlink()
    assert "materialise lsgan first" in refusal(storage)


def test_an_unknown_mode_is_named_with_those_there_are(storage: Storage):
    said = refusal(storage, mode="vendor")
    assert "'vendor'" in said and "vendor_single, vendor_all, vendor_customer" in said


def test_gains_and_ranks_are_means_over_the_best_designs():
    rows = [
        {"user": user, "garment_class": "men_tops", "item": None, "place": place, "start": 0, "score_before": 0.5,
         "score_after": after, "gain_sd": 2 * (after - 0.5), "realism_before": 0.25, "realism_after": 0.75,
         "approximation_l1": None, "own_rank": rank, "own_rank_in_class": rank + 1, "judges": 4, "nearest_asin": "B1",
         "nearest_l1": 10.0, "z": [], "strip": "s.png"}
        for user, place, after, rank in (
            (1, 1, 1.0, 1), (1, 2, 9.0, 4), (1, 1, 0.25, 3), (2, 1, 1.5, 1), (2, 1, 0.5, 2)
        )
    ]  # fmt: skip
    found = figures(pa.Table.from_pylist(rows, schema=schemas.DESIGNS))
    assert (found["users"], found["designs"]) == (2, 4)
    assert (found["preference_gain_mean"], found["preference_gained_share"]) == (0.3125, 0.5)
    assert found["preference_gain_sd_mean"] == 0.625
    assert found["users_gained_share"] == 0  # each has a design whose score fell, or did not rise
    assert (found["own_rank_first_share"], found["own_rank_in_class_first_share"]) == (0.5, 0)
    assert found["kept_own_rank_first_share"] == 0.4  # the second best of user 1 counts here alone
    assert (found["realism_before_mean"], found["realism_after_mean"]) == (0.25, 0.75)
