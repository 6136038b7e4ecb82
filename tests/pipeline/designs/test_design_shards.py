"""Designs by shards of users are those of all users at once, bit by bit."""

from dataclasses import fields, replace

import numpy as np
import pytest

from models.design.from_noise import Designs, personal_designs
from models.design.settings import DesignSettings
from pipeline.core.shards import HERE
from pipeline.designs.shards import search
from tests.models.design.test_design import networks, recommender
from tests.pipeline.core.in_turn import InTurn

pytestmark = pytest.mark.slow

SETTINGS = DesignSettings(starts=3, best=2, steps=4, rows_at_once=4)


def same(one: Designs, other: Designs) -> bool:
    def arrays(found: Designs) -> list[np.ndarray]:
        values = [getattr(found, field.name) for field in fields(found)]
        return [array for value in values for array in (value if isinstance(value, tuple) else (value,))]

    return all(np.array_equal(a, b) for a, b in zip(arrays(one), arrays(other), strict=True))


@pytest.mark.parametrize("users", [1, 4, 19])
def test_designs_by_shards_of_users_are_those_of_all_at_once(users: int):
    generator, discriminator = networks()
    taste = recommender(users)
    whole = personal_designs(generator, discriminator, taste, range(3), settings=SETTINGS)
    told = []
    apart = search(generator, discriminator, taste, 3, SETTINGS, InTurn(3), lambda *now: told.append(now))
    assert len(apart.score) == users
    assert same(apart, whole)
    assert told[-1] == (users * 3 * 3, users * 3 * 3)
    assert len(told) == -(-users // 4)  # four users fill whole batches
    assert same(search(generator, discriminator, taste, 3, SETTINGS, HERE), whole)


def test_where_one_user_fills_a_batch_a_shard_can_be_one_user():
    generator, discriminator = networks()
    taste, one_each = recommender(5), replace(SETTINGS, starts=2, best=2, steps=1, rows_at_once=2)
    told = []
    search(generator, discriminator, taste, 1, one_each, InTurn(3), lambda *now: told.append(now))
    assert len(told) == 5
