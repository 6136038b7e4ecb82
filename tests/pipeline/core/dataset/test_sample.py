"""A sample keeps whole users: the same ones whatever the order of the rows, with everything they reviewed."""

import random

import pytest

from pipeline.core.dataset.extent import Extent, Sample
from pipeline.core.dataset.kcore import five_core
from pipeline.core.errors import InputError
from pipeline.inspection.table_facts import of_tables
from tests.pipeline.core.dataset.test_kcore import named, reviews_of

# 40 users with 3 to 6 items each, and 20 with one.
ROWS = [(f"u{user}", f"i{(user + item) % 17}", item) for user in range(40) for item in range(3 + user % 4)]
ROWS += [(f"once{user}", "i0", 1) for user in range(20)]


def drawn(rows=ROWS, **sample: int) -> set[str]:
    return {user for user, _, _ in named(five_core(reviews_of(rows), 3, sample=Sample(**sample)))}


def test_a_drawn_user_keeps_every_item_and_the_items_follow():
    core = five_core(reviews_of(ROWS), 3, sample=Sample(6))
    users = {user for user, _, _ in named(core)}
    assert len(users) == 6
    assert set(named(core)) == {row for row in ROWS if row[0] in users}
    assert set(core.items["asin"].to_pylist()) == {item for user, item, _ in ROWS if user in users}
    assert core.extent == Extent(3, users=6, of_users=40, seed=0)
    assert core.counts["users_with_k_items"] == 40 and core.counts["five_core_users"] == 6


def test_the_draw_depends_on_seed_and_ids_alone():
    turned = random.Random(0).sample(ROWS, len(ROWS))
    assert drawn(turned, users=6) == drawn(users=6)
    assert drawn(users=6, seed=1) != drawn(users=6)
    assert drawn(users=6) < drawn(users=9)


def test_a_sample_of_more_users_than_there_are_is_the_whole():
    whole, asked = five_core(reviews_of(ROWS), 3), five_core(reviews_of(ROWS), 3, sample=Sample(40))
    assert named(asked) == named(whole) and asked.counts == whole.counts and asked.extent == whole.extent == Extent(3)


def test_numbers_stay_when_a_sample_is_drawn_and_when_it_is_given_up():
    before = five_core(reviews_of(ROWS), 3)
    sampled = five_core(reviews_of(ROWS), 3, before.users, before.items, sample=Sample(6))
    assert sampled.users.equals(before.users) and sampled.items.equals(before.items)
    assert five_core(reviews_of(ROWS), 3, sampled.users, sampled.items).interactions.equals(before.interactions)


def test_a_sample_in_which_nobody_is_left_is_named():
    alone = [(f"u{user}", f"i{user}-{item}", 1) for user in range(4) for item in range(2)]
    together = [(f"v{user}", f"i{item}", 1) for user in range(4) for item in range(2)]
    with pytest.raises(InputError, match=r"nobody is left of the sample: 1 of 8 users \(seed \d+\), k = 2 for users"):
        for seed in range(30):  # one of them draws a user whose items nobody else has
            five_core(reviews_of([*alone, *together]), 2, iterative=True, sample=Sample(1, seed))


def test_the_prediction_of_an_inspection_is_what_the_run_will_draw(tmp_path):
    import pyarrow.parquet as pq

    from pipeline.core import schemas

    pq.write_table(reviews_of(ROWS), tmp_path / "reviews.parquet")
    pq.write_table(schemas.PRODUCTS.empty_table(), tmp_path / "products.parquet")
    sample = Sample(6, seed=4)
    found = of_tables(tmp_path / "reviews.parquet", tmp_path / "products.parquet", (3, 5), draw=(3, sample))
    core = five_core(reviews_of(ROWS), 3, sample=sample)
    assert found.extent == core.extent and found.sampled is not None
    predicted = found.core(3)
    made = core.counts["five_core_users"], core.counts["five_core_items"], core.counts["interactions"]
    assert (predicted.users, predicted.items, predicted.interactions) == made
    assert found.core(5) == found.cores[5] and found.cores[3].users == 40
    assert list(found.predicted) == ["3", "5", core.extent.label]
