"""Designs: made only with models of this very catalogue and these very garments."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.config import DesignTargetSettings
from pipeline.core import schemas
from pipeline.core.sources import BadInput
from pipeline.design_tables import figures
from pipeline.designs import open_studio
from pipeline.metadata import table_digest
from pipeline.storage import Storage

CPU = torch.device("cpu")
GARMENTS = {"garments": "g", "classes": "men_tops, women_tops"}


def catalogue(*shas: str) -> pa.Table:
    rows = [
        {"image": n, "bank_row": n, "item": n, "source": "vendor", "position": 0, "sha256": sha}
        for n, sha in enumerate(shas)
    ]
    return pa.Table.from_pylist(rows, schema=schemas.CATALOGUE)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """A home whose recommender was trained on catalogue `a`, its generator on garments `g`."""
    storage = Storage(root=str(tmp_path))
    table = catalogue("a")
    (storage.tables / "catalogue").mkdir(parents=True)
    pq.write_table(table, storage.tables / "catalogue" / "vendor_all.parquet")
    inputs = {"catalogue": table_digest(table)}
    storage.model("recommender", "r1", "vendor_all").finish({"asset": "dvbpr", "inputs": inputs})
    storage.model("generator", "g1").finish({"asset": "lsgan", "inputs": GARMENTS})
    return storage


def refusal(storage: Storage, mode: str = "vendor_all", **garments: str) -> str:
    with pytest.raises(BadInput) as caught:
        open_studio(storage, DesignTargetSettings(mode=mode), {**GARMENTS, **garments}, CPU)
    return str(caught.value)


def test_a_recommender_of_another_catalogue_is_refused_with_both_digests(storage: Storage):
    now = catalogue("a", "b")
    pq.write_table(now, storage.tables / "catalogue" / "vendor_all.parquet")
    said = refusal(storage)
    assert f"catalogue {table_digest(catalogue('a'))}, now {table_digest(now)}" in said
    assert "materialise dvbpr again" in said


def test_a_generator_of_other_garments_is_refused_with_both_digests(storage: Storage):
    said = refusal(storage, garments="n3w")
    assert "garments g, now n3w" in said and "materialise lsgan again" in said


def test_a_generator_of_other_classes_is_refused_with_both_lists(storage: Storage):
    said = refusal(storage, classes="men_tops, women_tops, women_dresses")
    assert "classes men_tops, women_tops, now men_tops, women_tops, women_dresses" in said
    assert "materialise lsgan again" in said


def test_without_a_recommender_of_the_chosen_mode_it_says_what_to_make(storage: Storage):
    assert "materialise dvbpr for image mode vendor_customer first" in refusal(storage, mode="vendor_customer")


def test_without_a_generator_it_says_what_to_make(storage: Storage):
    (storage.parent("generator") / "current.json").unlink()
    assert "materialise lsgan first" in refusal(storage)


def test_an_unknown_mode_is_named_with_those_there_are(storage: Storage):
    said = refusal(storage, mode="vendor")
    assert "'vendor'" in said and "vendor_single, vendor_all, vendor_customer" in said


def test_gains_and_ranks_are_means_over_designs():
    rows = [
        {"user": user, "garment_class": "men_tops", "item": None, "start": 0, "score_before": 0.5,
         "score_after": after, "realism_before": 0.25, "realism_after": 0.75, "approximation_l1": None,
         "own_rank": rank, "judges": 4, "z": [], "strip": "s.png"}
        for user, after, rank in ((1, 1.0, 1), (1, 0.25, 3), (2, 1.5, 1), (2, 0.5, 2))
    ]  # fmt: skip
    found = figures(pa.Table.from_pylist(rows, schema=schemas.DESIGNS))
    assert (found["users"], found["designs"]) == (2, 4)
    assert (found["preference_gain_mean"], found["preference_gained_share"]) == (0.3125, 0.5)
    assert found["own_rank_first_share"] == 0.5
    assert (found["realism_before_mean"], found["realism_after_mean"]) == (0.25, 0.75)
