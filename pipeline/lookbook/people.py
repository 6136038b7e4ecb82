"""The section about people: a few random users, what they bought, the rank of their held-out item, their picks."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.data.factors import Factors
from pipeline.core.tables import table_digest
from pipeline.lookbook.album import Album
from pipeline.lookbook.page import LeftOut, Section
from pipeline.lookbook.product_cards import ProductCard, cards, first_pictures, titles
from pipeline.lookbook.reasons import Reason, Reasons
from pipeline.lookbook.recommender import shown_name
from pipeline.recommenders import registry
from pipeline.settings.assets import LookbookSettings
from pipeline.views.home_contents import Home
from pipeline.views.words import MODES

TITLE = "What people would be shown"
PREFERRED_MODE = "vendor_all"


@dataclass(frozen=True)
class Standing:
    """Rank of the held-out item among all items that the user does not have."""

    rank: int  # 1 is best
    among: int

    @property
    def ahead_of(self) -> float:
        """Return the share of the other candidates ranked behind it: the user's AUC if there are no ties."""
        return (self.among - self.rank) / max(1, self.among - 1)


@dataclass(frozen=True)
class Person:
    """A user shown in the lookbook."""

    user: int
    reviewer_id: str
    bought: list[ProductCard]  # items of the training split
    bought_count: int
    held_out: ProductCard | None  # the first of them
    held_out_count: int
    standing: Standing | None
    picks: list[tuple[ProductCard, float]]  # with the model's score, best first
    reasons: list[Reason]  # for the first picks


def draw(users: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw `count` of the users [U] int32, ascending; designs use the same draw, so they are for these people."""
    return users[np.random.default_rng(seed).permutation(len(users))[:count]]


def standing(factors: Factors, user: int, target: int, owned: set[int]) -> Standing | None:
    """Rank `target` among itself and the items outside `owned`; None for an unknown user or item."""
    row, column = np.flatnonzero(factors.users == user), np.flatnonzero(factors.items == target)
    if not len(row) or not len(column):
        return None
    scores = factors.item @ factors.theta[row[0]] + factors.item_bias  # [I]
    candidate = ~np.isin(factors.items, list(owned - {target}))
    better = int((scores[candidate] > scores[column[0]]).sum())
    return Standing(better + 1, int(candidate.sum()))


def section(home: Home, album: Album, settings: LookbookSettings) -> Section | LeftOut:
    """Build the section."""
    modes = home.modes("recommendations")
    mode = PREFERRED_MODE if PREFERRED_MODE in modes else next(iter(modes), None)
    if mode is None:
        return LeftOut(TITLE, "there are no recommendations: materialise recommendations (it needs reviews)")
    tables = {name: home.table(name) for name in ("users", "items", "products")}
    tables |= {name: home.table(name, mode) for name in ("recommendations", "splits", "catalogue")}
    missing = [name for name, table in tables.items() if table is None]
    if missing:
        return LeftOut(TITLE, f"without {', '.join(missing)} nobody can be shown: materialise {', '.join(missing)}")
    present = {name: table for name, table in tables.items() if table is not None}
    factors, note = _factors(home, mode, present["splits"])
    content = {
        "mode": mode,
        "words": MODES[mode],
        "own": _name(home, mode),
        "everyone": pc.count_distinct(present["splits"]["user"]).as_py(),
        "people": people(mode, present, factors, home, album, settings),
        "note": note,
        "leaky": home.metadata("splits", mode).get("split_unit") == "image",
    }
    by_mode = ("recommendations", "splits", home.recommender_asset(mode))
    wanted = [*((name, mode) for name in by_mode), ("personal_designs", None)]
    return Section("people", TITLE, "People", content, home.sources(wanted))


def people(
    mode: str,
    tables: dict[str, pa.Table],
    factors: Factors | None,
    home: Home,
    album: Album,
    settings: LookbookSettings,
) -> list[Person]:
    """Draw the users and collect everything that the page shows about them."""
    splits, picked = tables["splits"], tables["recommendations"]
    drawn = draw(np.unique(splits["user"].to_numpy()), settings.users, settings.seed)
    reviewers = dict(zip(tables["users"]["user"].to_pylist(), tables["users"]["reviewer_id"].to_pylist(), strict=True))
    history = {user: _by_split(splits, user) for user in drawn.tolist()}
    picks = {user: _picks(picked, user, settings.picks) for user in history}
    bought = {user: items["train"][: settings.picks - 1] for user, items in history.items()}
    reasons = Reasons.open(home, mode, factors, tables["catalogue"])
    wanted = {item for shown in bought.values() for item in shown}
    wanted |= {item for items in history.values() for item in items["test"][:1]}
    wanted |= {item for shown in picks.values() for item, _ in shown}
    wanted |= (
        reasons.wanted({user: [item for item, _ in shown] for user, shown in picks.items()}, history)
        if reasons
        else set()
    )
    product_cards = cards(
        wanted, titles(tables["items"], tables["products"]), first_pictures(tables["catalogue"]), home.store(), album
    )
    shown_people = []
    for user, items in history.items():
        target = items["test"][0] if items["test"] else None
        owned = {item for part in items.values() for item in part}
        shown_people.append(
            Person(
                user,
                reviewers.get(user, ""),
                [product_cards[item] for item in bought[user]],
                len(items["train"]),
                None if target is None else product_cards[target],
                len(items["test"]),
                None if target is None or factors is None else standing(factors, user, target, owned),
                [(product_cards[item], score) for item, score in picks[user]],
                reasons.of(user, [item for item, _ in picks[user]], items["train"], product_cards, album)
                if reasons
                else [],
            )
        )
    return shown_people


def _name(home: Home, mode: str) -> str:
    folder = home.picker(mode)
    return shown_name([]) if folder is None else registry.title(folder.recommender)


def _factors(home: Home, mode: str, splits: pa.Table) -> tuple[Factors | None, str | None]:
    """Load the factors of the model that made the picks, or explain why held-out items cannot be ranked."""
    folder = home.picker(mode)
    if folder is None:
        return None, "The recommender that made the picks no longer exists, so held-out items are not ranked."
    if folder.manifest()["inputs"].get("splits") != table_digest(splits):
        return None, (
            f"The champion, {folder.run}, was trained on other data than the current data, perhaps on the held-out "
            "items too, so held-out items are not ranked."
        )
    return Factors.load(folder.verified / "factors.npz"), None


def _by_split(splits: pa.Table, user: int) -> dict[str, list[int]]:
    rows = splits.filter(pc.equal(splits["user"], user))
    items: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for split, item in zip(rows["split"].to_pylist(), rows["item"].to_pylist(), strict=True):
        items[split].append(item)
    return items


def _picks(recommendations: pa.Table, user: int, count: int) -> list[tuple[int, float]]:
    rows: Any = recommendations.filter(pc.equal(recommendations["user"], user)).sort_by("rank").slice(0, count)
    return list(zip(rows["item"].to_pylist(), rows["score"].to_pylist(), strict=True))
