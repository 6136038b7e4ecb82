"""The parts that the score of `modern` is the sum of, each computed from train in closed form.

A part scores users and items by theta . item + bias, scaled so that its scores have spread one. An item that nobody
has in train gets its true picture, text and categories, and in all that rests on purchases the mean of the others:
that an item is new must not show in its score. The weights of the parts belong to `fusion.py`.
"""

from collections.abc import Callable

import numpy as np
import torch

from models.data import priors
from models.data.dataset import UNKNOWN_TIME, Dataset
from models.data.factors import item_means
from models.data.item_facts import ItemFacts
from models.modern.part import LEAST_SPREAD, Histories, Part, fit_space
from models.modern.settings import ModernSettings
from models.modern.similarity import learnt_similarity

RECENT_DAYS = 30.0  # the recency prior falls by log 2 when an item was last bought so many days ago
_FULL_ITEM = 1.0  # purchases of an average item added to each item's counts by period


def build(
    data: Dataset, features: np.ndarray, facts: ItemFacts, settings: ModernSettings
) -> tuple[list[Part], list[str]]:
    """Compute the parts of the settings; return them, and a note for each one that is left out, with the reason.

    Raises ValueError unless `features` [images, F] are one finite row for each picture, `facts` are of the data's
    items, and train has interactions.
    """
    if features.ndim != 2 or len(features) != len(data.image_item) or not np.isfinite(features).all():
        raise ValueError(
            f"features are {features.shape}; one finite row for each of {len(data.image_item)} pictures was expected"
        )
    if len(facts.text) != len(data.items):
        raise ValueError(f"the facts are of {len(facts.text)} items, the data has {len(data.items)}")
    if not len(data.train):
        raise ValueError("`modern` needs train interactions, and this data set has none")
    histories, timed = Histories(data), priors.has_times(data)
    image = item_means(features, data.image_item, len(data.items))
    levels = range(facts.categories.shape[1])
    made: dict[str, list[Callable[[], Part]]] = {
        "image": [lambda: _content("image", image, histories, settings)],
        "text": [lambda: _content("text", facts.text, histories, settings)] if facts.text.any() else [],
        "categories": [lambda level=level: _categories(level, facts, histories, settings) for level in levels],
        "popularity": [lambda: _prior("popularity", priors.log_counts(data), histories)],
        "recent_popularity": [
            lambda: _prior("recent_popularity", priors.log_counts(data, settings.recent_days), histories)
        ]
        if timed
        else [],
        "recency": [lambda: _prior("recency", _recency(histories), histories)] if timed else [],
        "bought_together": [lambda: _bought_together(histories, settings)],
        "dates": [lambda: _dates(histories, settings)] if timed else [],
    }
    why = {"text": "no item has a text", "categories": "no item has a category"}
    parts, notes = [], []
    for name in settings.parts:
        if not made[name]:
            notes.append(f"{name} left out: {why.get(name, 'no purchase has a time')}")
        for make in made[name]:
            part = make()
            if (spread := part.spread(histories.seen)) > LEAST_SPREAD:
                parts.append(part.scaled(1 / spread))
            else:
                notes.append(f"{part.name} left out: it is the same for all items")
    return parts, notes


def _content(name: str, features: np.ndarray, histories: Histories, settings: ModernSettings) -> Part:
    """Score by the learnt similarity to the items of the user's history, in a space of pictures or texts [I, F]."""
    space = fit_space(features[histories.seen], settings.components, settings.whiten)
    item = space.project(features)
    theta = histories.means(item) @ learnt_similarity(item, histories, settings.ridge)
    return Part(name, theta.astype(np.float32), item, np.zeros(len(item), np.float32), space)


def _categories(level: int, facts: ItemFacts, histories: Histories, settings: ModernSettings) -> Part:
    """Score by log(share of the category in the user's history / its share in all of train), smoothed.

    An item without a category, or of a rare one, scores 0.
    """
    code = facts.categories[:, level]
    bought = code[histories.pairs[:, 1]]
    counts = np.bincount(bought[bought >= 0], minlength=int(code.max(initial=0)) + 1)
    largest = np.argsort(-counts, kind="stable")[: settings.largest_categories]
    codes = np.sort(largest[counts[largest] > 0])
    item = (code[:, None] == codes).astype(np.float32)
    share = (counts[codes] + 1) / (counts[codes] + 1).sum()
    own = histories.means(item) * histories.counts[:, None]
    theta = np.log((own + settings.share_prior * share) / (own.sum(1, keepdims=True) + settings.share_prior) / share)
    none = np.zeros(len(code), np.float32)
    return Part(f"category {level + 1}", theta.astype(np.float32), item, none, codes=codes.astype(np.int32))


def _prior(name: str, prior: np.ndarray, histories: Histories) -> Part:
    nothing = np.zeros((histories.users, 0), np.float32), np.zeros((histories.items, 0), np.float32)
    return Part(name, *nothing, prior.astype(np.float32))


def _recency(histories: Histories) -> np.ndarray:
    """Compute -log(1 + days since the item was last bought / 30): [I]; the mean over the others where unknown."""
    known = histories.times != UNKNOWN_TIME
    last = np.full(histories.items, UNKNOWN_TIME)
    np.maximum.at(last, histories.pairs[known, 1], histories.times[known])
    dated = last != UNKNOWN_TIME
    prior = np.zeros(histories.items)
    prior[dated] = -np.log1p((last[dated].max() - last[dated]) / (RECENT_DAYS * priors.DAY))
    prior[~dated] = prior[dated].mean()
    return prior


def _bought_together(histories: Histories, settings: ModernSettings) -> Part:
    """Score by factors of the matrix of purchases: items that the same people buy have similar factors [I, K]."""
    of_items = np.maximum(np.bincount(histories.pairs[:, 1], minlength=histories.items), 1)
    user, item = histories.pairs.T
    purchases = histories.matrix((histories.counts[user] * of_items[item]) ** -0.5)
    rank = min(settings.factors, histories.users, histories.items)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        _, spread, axes = torch.svd_lowrank(purchases, min(rank + 16, histories.users, histories.items), niter=4)
    factors = (axes * spread).numpy()[:, :rank]
    factors = _centred(factors, histories.seen)
    return Part("bought_together", histories.means(factors), factors, np.zeros(histories.items, np.float32))


def _dates(histories: Histories, settings: ModernSettings) -> Part:
    """Score by when the user shops and when the item sells, in periods of some days."""
    known = histories.times != UNKNOWN_TIME
    (user, item), times = histories.pairs[known].T, histories.times[known]
    period = (times - times.min()) // (settings.date_days * priors.DAY)
    periods = int(period.max()) + 1
    near = np.exp(-0.5 * (np.arange(periods)[:, None] - np.arange(periods)) ** 2)
    near /= near.sum(1, keepdims=True)
    sold = np.zeros((histories.items, periods))
    np.add.at(sold, (item, period), 1)
    sold = sold @ near
    share = (sold.sum(0) + 1e-3) / (sold.sum(0) + 1e-3).sum()
    of_item = np.log((sold + _FULL_ITEM * share) / (sold.sum(1, keepdims=True) + _FULL_ITEM) / share)
    theta = np.zeros((histories.users, periods), np.float32)
    np.add.at(theta, (user, period), 1)
    theta /= np.maximum(theta.sum(1, keepdims=True), 1)
    found = _centred(of_item, histories.seen)
    return Part("dates", theta, found, np.zeros(histories.items, np.float32))


def _centred(factors: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Subtract the mean over the seen items; an unseen item gets zeros, the mean of the seen ones."""
    return np.where(seen[:, None], factors - factors[seen].mean(0), 0).astype(np.float32)
