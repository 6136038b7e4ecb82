"""The cut moved week by week: what is measured in which week, and how much older models lose, against slow versions."""

from itertools import product

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from models.data.factors import Factors
from pipeline.core.arrays import mode_arrays
from pipeline.core.errors import InputError
from pipeline.settings.assets import EvaluationSettings
from pipeline.study import ageing, one_cell, tables, weeks
from pipeline.study.data import ModeData
from pipeline.study.weeks import DAY, WEEK
from tests.pipeline.little_shop import CPU, LittleShop, little_shop

FIRST = 1_600_000_000 // DAY * DAY  # midnight
DAYS = 35
SETTINGS = EvaluationSettings(resamples=50)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> LittleShop:
    """The little shop with times: every user's first two purchases are in the first two weeks."""
    made = little_shop(tmp_path_factory.mktemp("shop"))
    rng = np.random.default_rng(0)
    frame = made.splits.to_pandas().sort_values(["user", "item"], ignore_index=True)
    early = frame.groupby("user").cumcount() < 2
    days = np.where(early, rng.integers(0, 14, len(frame)), rng.integers(0, DAYS, len(frame)))
    days[0] = DAYS - 1  # the last day has a purchase
    frame["time"] = FIRST + days * DAY
    made.splits = pa.Table.from_pandas(frame, schema=made.splits.schema, preserve_index=False)
    return made


def pairs_of(shop: LittleShop) -> pa.Table:
    return shop.splits.select(["user", "item", "time"])


def split_at(shop: LittleShop, week: int, left_out: int = 0) -> ModeData:
    """Split by time: test from the cut on, validation in the three days before it, without each `left_out`-th pair."""
    cut = weeks.cut(pairs_of(shop), week)
    frame = shop.splits.to_pandas()
    late = np.where(frame["time"] >= cut - 3 * DAY, "validation", "train")
    frame["split"] = np.where(frame["time"] >= cut, "test", late)
    frame = frame[np.arange(len(frame)) % left_out != 0] if left_out else frame
    table = pa.Table.from_pandas(frame, schema=shop.splits.schema, preserve_index=False)
    of_mode = mode_arrays(shop.catalogue, table)
    data = object.__new__(ModeData)  # without a bank, features and facts, which no measurement reads
    parts = {"splits": table, "catalogue": shop.catalogue, "arrays": of_mode, "types": np.full(len(of_mode.items), -1)}
    data.__dict__.update(parts)
    return data


def test_the_cut_is_whole_weeks_before_midnight_after_the_last_purchase(shop: LittleShop):
    pairs = pairs_of(shop)
    assert weeks.end_of(pairs) == FIRST + DAYS * DAY
    assert [(weeks.end_of(pairs) - weeks.cut(pairs, week)) / WEEK for week in (1, 4)] == [1, 4]
    assert weeks.day(weeks.cut(pairs, 2)) == weeks.day(FIRST + 21 * DAY) == "2020-10-04"


def test_more_weeks_than_the_purchases_cover_are_refused_with_how_many_there_are(shop: LittleShop):
    with pytest.raises(InputError, match=r"cover 5\.0 weeks; at most 4"):
        weeks.cut(pairs_of(shop), 5)
    unknown = pairs_of(shop).set_column(2, "time", pa.nulls(shop.splits.num_rows, pa.int64()))
    with pytest.raises(InputError, match=r"no purchase of this home has a time.*--protocols random"):
        weeks.cut(unknown, 1)


def test_every_test_purchase_is_in_the_week_of_its_date_and_what_is_left_out_is_counted(shop: LittleShop):
    data = split_at(shop, 3, left_out=7)
    found = weeks.weeks_after(data, pairs_of(shop), 3)
    cut = weeks.cut(pairs_of(shop), 3)
    rows, everything = data.splits.to_pandas(), pairs_of(shop).to_pandas()
    trained = set(rows[rows["split"] == "train"]["item"])
    assert [week.age for week in found] == [1, 2, 3]
    for week in found:
        start = cut + (week.age - 1) * WEEK
        assert week.start == weeks.day(start)
        of_week = rows[(rows["time"] >= start) & (rows["time"] < start + WEEK)]
        ids = [(int(data.arrays.users[u]), int(data.arrays.items[i])) for u, i in week.pairs]
        assert ids == list(zip(of_week["user"], of_week["item"], strict=True))
        assert week.unseen == sum(item not in trained for item in of_week["item"])
        whole = ((everything["time"] >= start) & (everything["time"] < start + WEEK)).sum()
        assert week.unknown == whole - len(of_week) > 0


def test_a_week_is_measured_among_the_items_that_the_user_never_buys(shop: LittleShop):
    data, model = split_at(shop, 3), shop.taste()
    after = weeks.weeks_after(data, pairs_of(shop), 3)
    table, _ = one_cell.measured(model, data, 0, CPU, after)
    rows = table.to_pandas()
    assert set(rows[rows["part"] == "validation"]["age"]) == {0}
    scores = model.theta @ model.item.T + model.item_bias
    bought = {user: set(of_user["item"]) for user, of_user in data.splits.to_pandas().groupby("user")}
    checked = 0
    for week in after:
        of_week = rows[(rows["part"] == "test") & (rows["age"] == week.age)].set_index("user")
        held = pd.DataFrame(week.pairs, columns=["user", "item"]).groupby("user")["item"]
        assert set(of_week.index) == {data.arrays.users[user] for user in held.groups}
        for row, items in held:
            user = int(data.arrays.users[row])
            others = scores[row, [place for place, item in enumerate(data.arrays.items) if item not in bought[user]]]
            own = scores[row, items]
            aucs = [(others < score).mean() + (others == score).mean() / 2 for score in own]
            assert of_week.loc[user, "auc"] == pytest.approx(np.mean(aucs), abs=1e-6)
            assert of_week.loc[user, "held"] == len(items)
            checked += 1
    assert checked > 60


def test_the_same_model_reads_the_same_in_a_week_whatever_its_cut(shop: LittleShop):
    """Candidates do not depend on the cut, so an older model's loss is the model's."""
    model: Factors = shop.taste()
    by_cut = {}
    for week in (1, 3):
        data = split_at(shop, week)
        table, _ = one_cell.measured(model, data, 0, CPU, weeks.weeks_after(data, pairs_of(shop), week))
        rows = table.to_pandas()
        by_cut[week] = rows[(rows["part"] == "test") & (rows["age"] == week)].set_index("user")["auc"]  # the last week
    assert len(by_cut[1]) > 10
    pd.testing.assert_series_equal(by_cut[1], by_cut[3])


def drawn_cells(seed: int) -> pd.DataFrame:
    """Rows of two models, three cuts and two seeds; not every user buys in every week."""
    rng = np.random.default_rng(seed)
    rows = [
        {"model": model, "split": cut, "seed": number, "part": "test", "age": age, "user": user, "held": 1,
         "auc": rng.random(), "ndcg_at_100": rng.random()}
        for cut in (1, 2, 3) for age in range(1, cut + 1) for user in range(12)
        if (user + cut - age) % 3
        for model in ("old", "new") for number in (0, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def manifests() -> list[dict]:
    def facts(cut: int, age: int) -> dict:
        return {"age": age, "start": f"cut {cut} week {age}", "pairs": 8, "unseen": cut, "unknown": age}

    return [{"split": cut, "weeks": [facts(cut, age) for age in range(1, cut + 1)]} for cut in (1, 2, 3)]


def test_ageing_is_the_change_to_the_model_trained_up_to_the_same_week():
    rows = drawn_cells(0)
    found = ageing.of_mode(rows, manifests(), SETTINGS)
    for model, age in product(("old", "new"), (1, 2, 3)):
        read = {}  # (cut, age, user) -> mean over seeds
        for row in rows[rows["model"] == model].itertuples():
            read.setdefault((row.split, row.age, row.user), []).append(row.auc)
        values: dict[int, list[float]] = {}
        changes: dict[int, list[float]] = {}
        for (cut, of_age, user), aucs in read.items():
            if of_age == age:
                fresh = read[cut - age + 1, 1, user]  # the cut at the beginning of the measured week
                values.setdefault(user, []).append(np.mean(aucs))
                changes.setdefault(user, []).append(np.mean(aucs) - np.mean(fresh))
        one = found["ageing"][model][age]["auc"]
        assert one["mean"] == pytest.approx(np.mean([np.mean(of_user) for of_user in values.values()]))
        assert one["weeks"] == 4 - age and one["users"] == len(values)
        if age == 1:
            assert one["change"] is None
        else:
            assert one["change"]["mean"] == pytest.approx(np.mean([np.mean(of_user) for of_user in changes.values()]))
            assert one["change"]["low"] <= one["change"]["mean"] <= one["change"]["high"]


def test_quality_by_week_is_of_the_first_week_after_each_cut():
    rows = drawn_cells(1)
    found = ageing.of_mode(rows, manifests(), SETTINGS)
    for cut in (1, 2, 3):
        of = rows[(rows["model"] == "new") & (rows["split"] == cut) & (rows["age"] == 1)]
        slow = np.mean([of[of["user"] == user]["auc"].mean() for user in of["user"].unique()])
        assert found["by_week"]["new"][cut]["auc"]["mean"] == pytest.approx(slow)
    table = tables.quality_by_week(found)
    assert table[0] == "| AUC, week from | cut 3 week 1 | cut 2 week 1 | cut 1 week 1 |"
    assert "| *of them, of items not bought before the cut* | 3 | 2 | 1 |" in table
    head, _, *models = tables.ageing(found)
    assert head == "| AUC, weeks since the cut | 1 | 2 | 3 |" and len(models) == 2
    assert models[0].count(" to ") == 2
