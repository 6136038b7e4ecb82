"""The rule by which a new model takes over, and the pairs it is compared on, in shops small enough to check by eye."""

import numpy as np
import pytest
import torch

from models.data.factors import Factors
from pipeline.champions.champion import (
    BETTER,
    NOT_BETTER,
    NOT_WORSE,
    UNDECIDED,
    WORSE,
    Contender,
    PairedValues,
    compare_generators,
    compare_recommenders,
    decide,
    other_classes,
    other_extent,
)
from pipeline.champions.served_model import SPLITS, TrainingShop, hashed
from pipeline.core.dataset.extent import Extent
from pipeline.settings.assets import ChampionSettings

CPU = torch.device("cpu")
SECOND = pytest.approx(1 / np.log2(3))  # NDCG of one held-out item in the second place
SETTINGS = ChampionSettings(minimum=10, resamples=200)


def found(difference: np.ndarray) -> PairedValues:
    return PairedValues(0.5 + difference, np.full(len(difference), 0.5), {})


def result(difference: np.ndarray, same_data: bool, margin: float = 0.02) -> str:
    return decide(found(difference), same_data, SETTINGS, margin, "pairs").result


def test_on_the_same_data_the_challenger_must_win_by_its_whole_interval():
    noise = np.random.default_rng(0).normal(0, 0.1, 100)
    noise -= noise.mean()
    assert result(noise + 0.05, True) == BETTER
    assert result(noise + 0.005, True) == NOT_BETTER  # better on the mean, not beyond the noise
    assert result(noise - 0.05, True) == NOT_BETTER
    assert result(np.zeros(100), True) == NOT_BETTER  # the same model


def test_on_newer_data_the_lower_end_may_be_below_zero_by_the_margin():
    noise = np.random.default_rng(0).normal(0, 0.05, 400)
    noise -= noise.mean()  # half an interval is about 0.005
    assert result(noise - 0.01, False) == NOT_WORSE
    assert result(noise - 0.018, False) == WORSE
    assert result(noise - 0.018, False, margin=0.05) == NOT_WORSE
    assert result(noise, False, margin=0.0) == WORSE  # without a margin it must be better here too


def test_with_too_few_pairs_the_champion_stays():
    decision = decide(found(np.full(9, 0.3)), True, SETTINGS, 0.02, "pairs")
    assert decision.result == UNDECIDED and not decision.promoted
    assert "only 9 pairs can be compared, 10 are required" in decision.why


def test_a_decision_has_its_numbers():
    decision = decide(found(np.full(20, 0.125)), True, SETTINGS, 0.02, "pairs")
    assert (decision.difference, decision.low, decision.high, decision.compared) == (0.125, 0.125, 0.125, 20)
    assert decision.figures()["promoted"] == 1.0 and decision.figures()["difference"] == 0.125
    assert "+0.1250 (+0.1250 to +0.1250) over 20 pairs" in decision.why and "takes over" in decision.why


def test_users_without_an_auc_do_not_count():
    values = np.append(np.full(20, 0.25), np.nan)
    assert decide(found(values), True, SETTINGS, 0.02, "pairs").compared == 20


def test_a_challenger_replaces_a_generator_of_other_classes():
    decision = other_classes(["dresses"], ["men_tops"])
    assert decision.promoted and "draws men_tops" in decision.why and "dresses now" in decision.why


def side(users: str, items: str, scores: dict[str, list[float]], pairs: list[tuple[str, str, str]]) -> Contender:
    """Make a model of one-letter users and items: a row of scores for each user; pairs are (user, item, split)."""
    theta = np.array([scores[user] for user in users], np.float32)  # the items' factors are unit vectors
    count = len(items)
    factors = Factors(
        users=np.arange(len(users)),
        items=np.arange(count),
        theta=theta,
        item=np.eye(count),
        item_bias=np.zeros(count),
        phi=np.zeros((0, count)),
        image_item=np.zeros(0),
    )
    shop = TrainingShop(
        reviewer=hashed(list(users)),
        asin=np.array(list(items)),
        garment_class=np.array([""] * count),
        user=np.array([users.index(user) for user, _, _ in pairs], np.int32),
        item=np.array([items.index(item) for _, item, _ in pairs], np.int32),
        split=np.array([SPLITS.index(split) for _, _, split in pairs], np.int8),
    )
    return Contender(factors, shop)


OLD = [("u", "a", "train"), ("u", "b", "validation"), ("u", "c", "test"), ("v", "b", "train")]


def test_both_rank_the_challengers_held_out_items_matched_by_id():
    new = side("vu", "dcba", {"u": [1, 9, 0, 0], "v": [0, 0, 0, 0]}, OLD)  # u: c above d
    old = side("uv", "abcd", {"u": [0, 0, 1, 9], "v": [0, 0, 0, 0]}, OLD)  # u: c below d
    compared = compare_recommenders(new, old, CPU)
    assert compared.challenger.tolist() == [1.0] and compared.champion.tolist() == [SECOND]
    assert set(compared.left_out.values()) == {0}


def test_a_user_with_several_held_out_items_counts_once_by_the_ndcg_of_all():
    held = [("u", "a", "test"), ("u", "c", "test")]
    new = side("u", "abcd", {"u": [9, 1, 5, 0]}, held)  # both first
    old = side("u", "abcd", {"u": [9, 5, 1, 0]}, [])  # the first and the third
    compared = compare_recommenders(new, old, CPU)
    ideal = 1 + 1 / np.log2(3)
    assert compared.challenger.tolist() == [1.0]
    assert compared.champion.tolist() == [pytest.approx((1 + 1 / np.log2(4)) / ideal)]


def test_pairs_of_the_champions_training_and_validation_are_left_out():
    scores = {"u": [0, 0, 0, 0], "v": [0, 0, 0, 0]}
    new = side("uv", "abcd", scores, [("u", "a", "test"), ("u", "d", "train"), ("v", "b", "test"), ("v", "a", "train")])
    old = side("uv", "abcd", scores, [("u", "a", "train"), ("v", "b", "validation")])
    compared = compare_recommenders(new, old, CPU)
    assert len(compared.challenger) == 0
    assert compared.left_out["trained on by the champion"] == 2


def test_pairs_that_the_champions_ancestors_were_trained_on_are_left_out():
    scores = {"u": [0, 0, 0, 0]}
    new = side("u", "abcd", scores, [("u", "a", "test")])
    old = side("u", "abcd", scores, [("u", "a", "before"), ("u", "b", "train")])
    compared = compare_recommenders(new, old, CPU)
    assert len(compared.challenger) == 0 and compared.left_out["trained on by the champion"] == 1


def test_a_pair_with_one_picture_in_the_challengers_training_is_left_out():
    scores = {"u": [0, 0, 0, 0]}
    both = [("u", "a", "test"), ("u", "a", "train")]  # split_unit image: the item's other pictures train
    compared = compare_recommenders(side("u", "abcd", scores, both), side("u", "abcd", scores, both[:1]), CPU)
    assert len(compared.challenger) == 0 and compared.left_out["trained on by the challenger"] == 1


def test_users_and_items_unknown_to_the_champion_are_left_out_and_counted():
    new = side(
        "uwv", "abcde", dict.fromkeys("uwv", [0.0] * 5), [("u", "e", "test"), ("w", "a", "test"), ("v", "c", "test")]
    )
    old = side("uv", "abcd", dict.fromkeys("uv", [0.0] * 4), [("u", "a", "train")])
    compared = compare_recommenders(new, old, CPU)
    assert len(compared.champion) == 1  # v's c
    assert compared.left_out["user unknown to the champion"] == compared.left_out["item unknown to the champion"] == 1


def test_candidates_are_the_items_that_both_know_and_the_user_has_in_neither():
    # e is unknown to the champion, u bought b in the old data and d in the new: only a is left beside c.
    new = side("u", "abcde", {"u": [0, 9, 1, 9, 9]}, [("u", "c", "test"), ("u", "d", "train")])
    old = side("u", "abcd", {"u": [2, 0, 1, 0]}, [("u", "b", "train")])
    compared = compare_recommenders(new, old, CPU)
    assert compared.challenger.tolist() == [1.0] and compared.champion.tolist() == [SECOND]


def test_the_generator_with_the_smaller_distance_to_held_out_garments_wins():
    rng = np.random.default_rng(0)
    real, near, far = (rng.normal(shift, 1, (80, 6)) for shift in (0.0, 0.1, 1.5))
    won = decide(compare_generators(real, near, far, 3), True, SETTINGS, 0.0, "garments")
    lost = decide(compare_generators(real, far, near, 3), True, SETTINGS, 0.0, "garments")
    assert won.result == BETTER and lost.result == NOT_BETTER
    assert won.difference == pytest.approx(-lost.difference) and won.left_out == {"trained on by the champion": 3}


def test_a_model_of_a_sample_never_replaces_one_of_all_users_and_the_other_way_round_it_always_does():
    whole, part = Extent(3), Extent(5, users=10, of_users=90, seed=2)
    kept, taken = other_extent(part, whole), other_extent(whole, part)
    assert kept is not None and not kept.promoted and "sample: 10 of 90 users (seed 2), k = 5" in kept.why
    assert taken is not None and taken.promoted and "takes over" in taken.why
    assert other_extent(whole, Extent()) is None and other_extent(part, part) is None
