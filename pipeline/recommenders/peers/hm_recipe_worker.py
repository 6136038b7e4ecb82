"""The recipe that won H&M's public competition: `python hm_recipe_worker.py IN.npz OUT.npz`; files: `exchange.py`.

A few candidates for every user, from recent popularity, co-purchase, content and favourite categories, are ranked by
gradient-boosted trees on features of time. The trees learn on the last weeks of train, each week as the future of
everything before it. What was bought again is no candidate here, because a pair of user and item occurs once.

Only items bought in the eight weeks before a week are candidates in it. An item that nobody bought yet must not be one:
such items of the catalogue are bought later, so trees that see them learn that being new is a reason to be bought.
Items that are no candidates rank below all candidates, by recent popularity (unseen: the mean) and content.
"""

import json
import sys
from dataclasses import dataclass

import numpy as np

DAY = 86_400
WEEK = 7 * DAY
WINDOWS = (7, 28, 91)  # days over which an item's purchases are counted
TAU = 14.0  # days: decay of recent popularity
RECENT = 5  # of a user's last items
ON_SALE = 56  # days since the last purchase of an item that can be a candidate
NOT_APPLICABLE = 3  # exit code: `environment.py` reads it
USERS_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Shop:
    """What is known without a moment in time."""

    users: int
    pairs: np.ndarray  # [m, 2] int64, in the order of time
    time: np.ndarray  # [m] int64
    content: np.ndarray  # [I, C] float32, rows of length one or zero
    categories: np.ndarray  # [I, L] int, -1 for none


def main(source: str, target: str) -> None:
    """Train once; write the scores after each number of trees in `epochs`."""
    with np.load(source) as given:
        known = given["train_time"] != given["unknown_time"]
        order = np.argsort(given["train_time"][known], kind="stable")
        content = np.concatenate([unit(given[name]) for name in ("features", "text")], 1)
        pairs, time = (given[name][known][order].astype(np.int64) for name in ("train", "train_time"))
        shop = Shop(int(given["users"]), pairs, time, unit(content), given["categories"])
        epochs, seed, knobs = given["epochs"].tolist(), int(given["seed"]), json.loads(str(given["knobs"]))
    weeks, nearest = knobs.pop("weeks"), knobs.pop("nearest")
    rows = [labelled(shop, int(time[-1]) + 1 - number * WEEK, nearest) for number in range(1, weeks + 1)]
    rows = [one for one in rows if len(one[1])]
    if not rows:
        print(f"no pair of the last {weeks} weeks of train is among its candidates", file=sys.stderr)
        raise SystemExit(NOT_APPLICABLE)
    trees = trained([np.concatenate(column) for column in zip(*rows, strict=True)], max(epochs), seed, knobs)
    past, everyone = Past(shop, int(time[-1]) + 1), np.arange(shop.users)
    scores = np.empty((len(epochs), shop.users, len(shop.categories)), np.float32)
    for users in np.split(everyone, range(USERS_AT_ONCE, len(everyone), USERS_AT_ONCE)):
        looks = past.of(users)
        row, item = candidates(looks, nearest)
        values = features(looks, row, item)
        for number, trees_used in enumerate(epochs):
            part = scores[number, users[0] : users[-1] + 1]
            part[:] = below_one(looks.rest())
            part[row, item] = 1 + below_one(
                standardised(trees.predict(values, num_iteration=trees_used, raw_score=True))
            )
    np.savez(target, scores=scores)


def trained(rows: list[np.ndarray], trees: int, seed: int, knobs: dict):
    """Train trees on features [n, f] and labels [n]: the log-odds of being bought rank the candidates."""
    import lightgbm as lgb  # ty: ignore[import-not-found]

    values, labels = rows
    settings = {"objective": "binary", "seed": seed, "deterministic": True, "verbosity": -1, **knobs}
    return lgb.train(settings, lgb.Dataset(values, labels), num_boost_round=trees)


class Past:
    """The purchases before a moment."""

    def __init__(self, shop: Shop, end: int) -> None:
        import scipy.sparse as sp

        number = int(np.searchsorted(shop.time, end))
        pairs, age = shop.pairs[:number], (end - shop.time[:number]) / DAY  # days
        items = len(shop.categories)
        self.shop, self.pairs, self.age = shop, pairs, age

        def counted(weights: np.ndarray) -> np.ndarray:
            return np.log1p(np.bincount(pairs[:, 1], weights, minlength=items))

        first, last = np.zeros(items), np.full(items, np.inf)
        np.maximum.at(first, pairs[:, 1], age)
        np.minimum.at(last, pairs[:, 1], age)
        self.seen, self.on_sale = np.isfinite(last), last <= ON_SALE
        self.recent = counted(np.exp(-age / TAU))  # [I]
        columns = [self.recent, counted(np.ones(number)), first, last]
        columns += [counted((age <= days).astype(float)) for days in WINDOWS]
        self.of_item = np.stack(columns, 1).astype(np.float32)
        ones = np.ones(number, np.float32)
        self.has = sp.csr_matrix((ones, pairs.T), shape=(shop.users, items))
        together = (self.has.T @ self.has).tocsr()
        together.setdiag(0)
        root = sp.diags(1 / np.sqrt(np.maximum(np.bincount(pairs[:, 1], minlength=items), 1)))
        self.together = root @ together @ root  # [I, I], cosine of the items' buyers

    def of(self, users: np.ndarray) -> "Looks":
        """Compute the scores of the sources of candidates for user rows [c]."""
        return Looks(self, users)


class Looks:
    """Scores of some users and all items before a moment, each [c, I]."""

    def __init__(self, past: Past, users: np.ndarray) -> None:
        self.past, shop = past, past.shop
        has = past.has[users]
        self.owned = has.toarray() > 0
        self.copurchase = (has @ past.together).toarray()
        size = np.maximum(self.owned.sum(1, keepdims=True), 1)
        self.content = (has @ shop.content / size) @ shop.content.T
        self.content_recent = last_items(past, users) @ shop.content.T
        self.shares = [share(has / size, codes) for codes in shop.categories.T]
        mine = np.isin(past.pairs[:, 0], users)
        place, latest = np.searchsorted(users, past.pairs[mine, 0]), np.full(len(users), 9999.0)
        np.minimum.at(latest, place, past.age[mine])
        self.of_user = np.stack([self.owned.sum(1), latest], 1).astype(np.float32)

    def rest(self) -> np.ndarray:
        """Score all items without training, [c, I]: by recent popularity, and content for those that are close."""
        popular = np.where(self.past.seen, self.past.recent, self.past.recent[self.past.seen].mean())
        return standardised(popular) + standardised(self.content) / 4


def candidates(looks: Looks, nearest: int) -> tuple[np.ndarray, np.ndarray]:
    """List (row, item) of the best `nearest` items of each source among those on sale that the user does not have."""
    popular = np.broadcast_to(looks.past.recent, looks.owned.shape)
    sources = [popular, looks.copurchase, looks.content, *(share * popular for share in looks.shares)]
    chosen = np.zeros(looks.owned.shape, bool)
    allowed = looks.past.on_sale & ~looks.owned
    for scores in sources:
        found = np.where(allowed, scores, -np.inf)
        best = np.argpartition(-found, min(nearest, found.shape[1]) - 1, axis=1)[:, :nearest]
        np.put_along_axis(chosen, best, True, axis=1)
    row, item = np.nonzero(chosen & allowed)
    return row, item


def features(looks: Looks, row: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Collect the features of (row, item): [n, f] float32."""
    pair = [looks.copurchase, looks.content, looks.content_recent, *looks.shares]
    columns = [scores[row, item][:, None] for scores in pair]
    return np.concatenate([*columns, looks.past.of_item[item], looks.of_user[row]], 1).astype(np.float32)


def labelled(shop: Shop, start: int, nearest: int) -> tuple[np.ndarray, np.ndarray]:
    """Make training rows of the week that begins at `start`: features and labels.

    A user whose purchases of the week are not among the candidates is left out.
    """
    past = Past(shop, start)
    inside = (shop.time >= start) & (shop.time < start + WEEK)
    bought = shop.pairs[inside]
    if not len(bought) or not len(past.pairs):
        return np.empty((0, 0)), np.empty(0)
    users, place = np.unique(bought[:, 0], return_inverse=True)
    looks = past.of(users)
    row, item = candidates(looks, nearest)
    target = np.zeros(looks.owned.shape, np.int8)
    target[place, bought[:, 1]] = 1
    labels = target[row, item]
    useful = np.bincount(row, labels, minlength=len(users)) > 0
    kept = useful[row]
    return features(looks, row[kept], item[kept]), labels[kept]


def last_items(past: Past, users: np.ndarray) -> np.ndarray:
    """Average the content of each user's last items: [c, C]."""
    found = np.zeros((len(users), past.shop.content.shape[1]), np.float32)
    mine = past.pairs[np.isin(past.pairs[:, 0], users)]  # in the order of time
    for place, user in enumerate(users):
        own = mine[mine[:, 0] == user, 1][-RECENT:]
        if len(own):
            found[place] = past.shop.content[own].mean(0)
    return found


def share(has, codes: np.ndarray) -> np.ndarray:
    """Compute the share of each user's purchases that is in each item's category: [c, I]; 0 without a category."""
    import scipy.sparse as sp

    known = np.flatnonzero(codes >= 0)
    shape = (len(codes), int(codes.max(initial=-1)) + 1)
    of_category = sp.csr_matrix((np.ones(len(known), np.float32), (known, codes[known])), shape=shape)
    return ((has @ of_category) @ of_category.T).toarray()


def unit(values: np.ndarray) -> np.ndarray:
    """Scale rows to length one; a row of zeros stays."""
    return (values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def standardised(values: np.ndarray) -> np.ndarray:
    """Subtract the mean and divide by the standard deviation."""
    return (values - values.mean()) / max(float(values.std()), 1e-12)


def below_one(values: np.ndarray) -> np.ndarray:
    """Map to (0, 1), keeping the order."""
    return 1 / (1 + np.exp(-values / 4))


if __name__ == "__main__":
    main(*sys.argv[1:])
