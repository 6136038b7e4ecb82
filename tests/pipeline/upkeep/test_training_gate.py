"""When the training gate opens, and which model a training starts from."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core import schemas
from pipeline.core.arrays import mode_arrays
from pipeline.core.schemas import SPLIT_NAMES
from pipeline.home.storage import Storage, write_json
from pipeline.recommenders import registry, warm_start
from pipeline.settings.method import Method
from pipeline.upkeep.training_gate import TrainingGate, count_changed, count_moved

MODE = "vendor_all"
CONFIGURATION = {"dvbpr": {"k": 8, "epochs": 2}, "triplets": {"seed": 0, "epochs": 2}, "image_bank": {"size": 48}}


def splits(*rows: tuple[int, int, str]) -> pa.Table:
    user, item, split = zip(*rows, strict=True)
    columns = [user, item, split, [True] * len(rows), [None] * len(rows), [None] * len(rows)]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, schemas.SPLITS, strict=True)], schema=schemas.SPLITS)


def of_users(users: int, items: int = 5) -> list[tuple[int, int, str]]:
    """List items from 0 on for each user: one for validation, one for test, the others for training."""
    names = ("validation", "test", *["train"] * (items - 2))
    return [(user, item, names[item]) for user in range(users) for item in range(items)]


class Home:
    """A home with current splits and a model of earlier splits."""

    def __init__(self, folder: Path) -> None:
        self.storage = Storage(root=str(folder))
        self.folder = folder

    def now(self, table: pa.Table) -> None:
        path = self.storage.tables / "splits" / f"{MODE}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)

    def model(self, table: pa.Table, run: str = "one", **manifest: Any) -> Path:
        found = self.storage.model("recommender", run, MODE)
        pq.write_table(table, found.path / "splits.parquet")
        found.finish({"asset": "dvbpr", "code_version": "1", "configuration": CONFIGURATION, **manifest})
        return found.path

    def baselines(self, table: pa.Table) -> None:
        found = self.storage.model("baselines", "all", MODE)
        own = found.path / registry.baselines()[0].name
        own.mkdir()
        pq.write_table(table, own / "splits.parquet")
        found.finish({"asset": "baselines"})

    def gate(self, wanted: int | None = None) -> TrainingGate:
        profile = self.folder / f"wants-{wanted}.yaml"
        profile.write_text(
            "{}" if wanted is None else f"ops: {{dvbpr: {{config: {{min_new_interactions: {wanted}}}}}}}"
        )
        return TrainingGate(self.storage, Method(profile=str(profile)))

    def start(self, table: pa.Table, wanted: bool = True, code: str = "1", **other: Any) -> warm_start.Start:
        return warm_start.start(self.storage, MODE, "dvbpr", {**CONFIGURATION, **other}, code, table, wanted)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_added_and_removed_interactions_count_once_each_in_any_split():
    before = splits((0, 0, "train"), (0, 1, "test"), (1, 0, "train"))
    now = splits((0, 0, "test"), (0, 1, "train"), (1, 2, "train"), (1, 3, "train"))
    assert count_changed(before, now) == 3 and count_changed(now, before) == 3 and count_changed(now, now) == 0


def other_protocol(users: int) -> list[tuple[int, int, str]]:
    """List the pairs of `of_users`, with other ones held out, as another hold-out or seed does."""
    names = {3: "validation", 4: "test"}
    return [(user, item, names.get(item, "train")) for user, item, _ in of_users(users)]


@pytest.mark.parametrize("asset", ["dvbpr", "baselines"])
def test_another_hold_out_of_the_same_interactions_trains_again(home: Home, asset: str):
    table = splits(*of_users(40))
    home.model(table)
    home.baselines(table)
    home.now(table)
    assert not home.gate()(asset, MODE)
    home.now(splits(*other_protocol(40)))
    assert home.gate()(asset, MODE)


def test_a_purchase_that_moves_the_latest_hold_outs_on_counts_once(home: Home):
    """With `latest` the new one is test, the former test item validation, and the former validation item train."""
    table = of_users(60)
    home.model(splits(*table))
    for buyers, opens in ((1, False), (2, False), (3, True)):  # 3 of 300 interactions are 1%
        later = {(user, item): split for user, item, split in table}
        for user in range(buyers):
            later |= {(user, 9): "test", (user, 1): "validation", (user, 0): "train"}
        home.now(splits(*((*pair, split) for pair, split in later.items())))
        assert home.gate()("dvbpr", MODE) is opens


def test_moved_pairs_are_those_that_were_trained_on_and_are_held_out_now():
    rng = np.random.default_rng(0)
    for _ in range(20):
        before, now = (
            splits(*{(int(u), int(i)): (int(u), int(i), str(rng.choice(SPLIT_NAMES))) for u, i in rows}.values())
            for rows in rng.integers(0, 4, (2, 12, 2))
        )
        old, new = ({(r["user"], r["item"]): r["split"] for r in t.to_pylist()} for t in (before, now))
        slow = sum(split == "train" and new.get(pair, "train") != "train" for pair, split in old.items())
        assert count_moved(before, now) == slow


def test_a_pair_with_a_held_out_picture_that_also_trains_has_not_moved():
    before, now = splits((0, 0, "train"), (0, 1, "train")), splits((0, 0, "train"), (0, 0, "test"), (0, 1, "test"))
    assert count_moved(before, now) == 1


@pytest.mark.parametrize(("new", "opens"), [(0, False), (1, False), (2, True)])
def test_a_training_waits_for_changes_to_one_percent_of_the_interactions(home: Home, new: int, opens: bool):
    table = of_users(40)  # 200 interactions
    home.model(splits(*table))
    home.now(splits(*table, *[(user, 9, "train") for user in range(new)]))
    assert home.gate()("dvbpr", MODE) is opens


def test_a_set_number_replaces_the_percentage_and_zero_always_trains(home: Home):
    table = of_users(40)
    home.model(splits(*table))
    home.now(splits(*table, (0, 9, "train")))
    assert home.gate(1)("dvbpr", MODE) and not home.gate(2)("dvbpr", MODE)
    home.now(splits(*table))
    assert home.gate(0)("dvbpr", MODE)


def test_only_recommenders_with_a_model_wait(home: Home):
    assert home.gate()("dvbpr", MODE) and home.gate()("baselines", MODE)
    home.model(splits(*of_users(40)))
    home.now(splits(*of_users(40)))
    assert home.gate()("triplets", MODE) and home.gate()("lookbook", None) and not home.gate()("dvbpr", MODE)


def test_the_first_model_starts_cold_and_the_next_one_from_it(home: Home):
    table = splits(*of_users(40))
    assert home.start(table).folder is None
    path = home.model(table)
    begun = home.start(table)
    assert (begun.folder, begun.run) == (path, "one") and begun.why.startswith("from one; 0 of 80 ")


def test_another_configuration_or_code_starts_cold_and_names_the_difference(home: Home):
    table = splits(*of_users(40))
    home.model(table)
    assert "another version of the code" in home.start(table, code="2").why
    assert (
        "other dvbpr.k, image_bank.size" in home.start(table, dvbpr={"k": 9, "epochs": 2}, image_bank={"size": 64}).why
    )
    assert home.start(table, wanted=False).why == "from scratch: warm_start is off"


def test_more_epochs_do_not_count_as_another_configuration(home: Home):
    table = splits(*of_users(40))
    home.model(table)
    longer = {"dvbpr": {"k": 8, "epochs": 9}, "triplets": {"seed": 0, "epochs": 9}}
    assert home.start(table, **longer).run == "one"


def test_a_model_trained_on_many_held_out_pairs_is_not_started_from(home: Home):
    """As after a change of the split."""
    home.model(splits(*of_users(40)))
    other = splits(*[(user, item, "test" if item == 4 else "train") for user, item, _ in of_users(40)])
    begun = home.start(other)
    assert begun.folder is None and "on 40 of the 40 pairs that are held out now" in begun.why


def test_pairs_that_any_ancestor_model_was_trained_on_stay_known(home: Home):
    first, later = of_users(200), of_users(200)
    oldest = home.model(splits(*first), "oldest")
    # User 0's item 2 was trained on; the test item was removed, and item 2 replaced it.
    later = [row for row in later if row[:2] != (0, 1)]
    later[later.index((0, 2, "train"))] = (0, 2, "test")
    begun = home.start(splits(*later))
    assert begun.folder == oldest and "1 of 400 pairs" in begun.why
    middle = home.model(splits(*later), "middle")
    warm_start.keep_trained_on(middle, splits(*later), begun)
    newest = home.model(splits(*later), "newest")
    warm_start.keep_trained_on(newest, splits(*later), warm_start.Start(middle, "middle", ""))
    known = warm_start.seen(splits(*later), warm_start.trained_on(newest))
    assert known.select(["user", "item", "split"]).to_pylist() == [{"user": 0, "item": 2, "split": "test"}]
    cold = home.model(splits(*later), "cold")
    warm_start.keep_trained_on(cold, splits(*later), warm_start.Start(None, None, "from scratch"))
    assert warm_start.seen(splits(*later), warm_start.trained_on(cold)).num_rows == 0


def test_known_pairs_are_excluded_from_their_split_only():
    table = splits(*of_users(3))
    catalogue = pa.table({"item": pa.array(range(5), pa.int32()), "bank_row": pa.array(range(5), pa.int32())})
    data = mode_arrays(catalogue, table)
    known = table.filter(pa.array([row == (1, 1, "test") for row in of_users(3)]))
    assert data.without("test", known).tolist() == [[0, 1], [2, 1]]
    assert data.without("validation", known).tolist() == data.pairs["validation"].tolist()
    assert data.without("test", known.slice(0, 0)).tolist() == data.pairs["test"].tolist()


def test_a_pair_with_a_single_held_out_picture_does_not_count_as_known(home: Home):
    """Its other pictures train in every model, by the split's own rule."""
    table = splits((0, 0, "train"), (0, 0, "test"), (0, 1, "train"), (0, 2, "validation"))
    assert warm_start.seen(table, table.select(["user", "item"]).slice(0, 1)).num_rows == 0


def test_models_with_equal_inputs_are_found_again_the_current_one_first(home: Home):
    table = splits(*of_users(3))
    home.model(table, "a", inputs={"x": "1"})
    home.model(table, "b", inputs={"x": "1"})
    home.model(table, "c", inputs={"x": "2"})
    assert (home.storage.parent("recommender", MODE) / "current.json").read_text() == json.dumps(
        {"run": "c"}, indent=2
    ) + "\n"
    found = home.storage.find_finished("recommender", MODE, inputs={"x": "1"})
    assert found is not None and found.run == "a"
    write_json(home.storage.parent("recommender", MODE) / "current.json", {"run": "b"})
    found = home.storage.find_finished("recommender", MODE, inputs={"x": "1"}, code_version="1")
    assert found is not None and found.run == "b"
    assert home.storage.find_finished("recommender", MODE, inputs={"x": "1"}, code_version="2") is None
