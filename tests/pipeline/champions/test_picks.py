"""The recommendations for every user, also by a champion of earlier data."""

import numpy as np
import torch

from models.data.factors import Factors
from pipeline.champions.picks import picks
from pipeline.core.arrays import ModeArrays

CPU = torch.device("cpu")


def champion(users: list[int], items: list[int]) -> Factors:
    """Make a model that scores each item by its number, for every user."""
    return Factors(
        users=np.array(users), items=np.array(items), theta=np.ones((len(users), 1)),
        item=np.array(items, float)[:, None], item_bias=np.zeros(len(items)), phi=np.zeros((0, 1)),
        image_item=np.zeros(0),
    )  # fmt: skip


def shop(users: list[int], items: list[int], *owned: tuple[int, int, str]) -> ModeArrays:
    """Make a mode's arrays from (user, item, split) triples."""
    pairs = {
        split: np.array(
            [(users.index(user), items.index(item)) for user, item, of in owned if of == split], np.int32
        ).reshape(-1, 2)
        for split in ("train", "validation", "test")
    }
    none = np.zeros(0, np.int32)
    of_users = np.ones(len(users), bool)
    return ModeArrays(
        np.array(users), np.array(items), pairs, of_users, bank_row=none, image_item=none, train_time=none
    )


def picked(factors: Factors, data: ModeArrays, top: int = 9) -> dict[int, list[int]]:
    table = picks(factors, data, top, CPU).to_pylist()
    assert all(row["score"] == row["item"] for row in table)
    return {
        user: [row["item"] for row in sorted(table, key=lambda row: row["rank"]) if row["user"] == user]
        for user in dict.fromkeys(row["user"] for row in table)
    }


def test_the_best_items_come_first_without_the_users_own():
    data = shop([4, 9], [1, 2, 3, 5], (4, 5, "train"), (4, 1, "test"), (9, 2, "validation"))
    assert picked(champion([4, 9], [1, 2, 3, 5]), data) == {4: [3, 2], 9: [5, 3, 1]}
    assert picked(champion([4, 9], [1, 2, 3, 5]), data, top=1) == {4: [3], 9: [5]}


def test_a_champion_of_earlier_data_picks_no_removed_and_no_owned_item():
    data = shop([4, 9, 11], [1, 2, 3, 7], (4, 3, "train"), (9, 7, "train"), (11, 1, "train"))
    earlier = champion([2, 9, 4], [6, 3, 1, 2])  # without user 11 and item 7, with the removed user 2 and item 6
    assert picked(earlier, data) == {9: [3, 2, 1], 4: [2, 1]}
