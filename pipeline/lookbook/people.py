"""The people's section: a few users by a seeded draw, what they bought, where the held-out item ranked, their picks."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.factors import Factors
from pipeline.lookbook.album import Album
from pipeline.lookbook.data import MODES
from pipeline.lookbook.home import Home
from pipeline.lookbook.page import LeftOut, Section
from pipeline.lookbook.reasons import Reason, Reasons
from pipeline.lookbook.recommender import shown_name
from pipeline.lookbook.shelf import Card, cards, first_pictures, titles
from pipeline.settings import LookbookSettings
from pipeline.views.metadata import table_digest

TITLE = "What people would be shown"
PREFERRED_MODE = "vendor_all"


@dataclass(frozen=True)
class Standing:
    """Where the held-out item stands among all items the user does not have."""

    rank: int  # 1 is best
    among: int

    @property
    def ahead_of(self) -> float:
        """Share of the other candidates behind it: the user's AUC, ties aside."""
        return (self.among - self.rank) / max(1, self.among - 1)


@dataclass(frozen=True)
class Person:
    """A user of the page."""

    user: int
    reviewer_id: str
    bought: list[Card]  # of the training split
    bought_count: int
    held_out: Card | None
    standing: Standing | None
    picks: list[tuple[Card, float]]  # with the model's score, best first
    reasons: list[Reason]  # for the first picks


def draw(users: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` of the users, [U] int32 ascending, by the same draw as the designs', so that people meet their own."""
    return users[np.random.default_rng(seed).permutation(len(users))[:count]]


def standing(factors: Factors, user: int, target: int, owned: set[int]) -> Standing | None:
    """Rank of `target` among the items outside `owned` and itself; None for an unknown user or item."""
    row, column = np.flatnonzero(factors.users == user), np.flatnonzero(factors.items == target)
    if not len(row) or not len(column):
        return None
    scores = factors.item @ factors.theta[row[0]] + factors.item_bias  # [I]
    candidate = ~np.isin(factors.items, list(owned - {target}))
    better = int((scores[candidate] > scores[column[0]]).sum())
    return Standing(better + 1, int(candidate.sum()))


def section(home: Home, album: Album, settings: LookbookSettings) -> Section | LeftOut:
    """The section."""
    modes = home.modes("recommendations")
    mode = PREFERRED_MODE if PREFERRED_MODE in modes else next(iter(modes), None)
    if mode is None:
        return LeftOut(TITLE, "there are no recommendations: materialise recommendations (it needs reviews)")
    tables = {name: home.table(name) for name in ("users", "items", "products")}
    tables |= {name: home.table(name, mode) for name in ("recommendations", "splits", "catalogue")}
    missing = [name for name, table in tables.items() if table is None]
    if missing:
        return LeftOut(TITLE, f"without {', '.join(missing)} nobody can be shown: materialise {', '.join(missing)}")
    there = {name: table for name, table in tables.items() if table is not None}
    factors, note = _factors(home, mode, there["splits"])
    content = {
        "mode": mode,
        "words": MODES[mode],
        "own": _name(home, mode),
        "everyone": pc.count_distinct(there["splits"]["user"]).as_py(),
        "people": people(mode, there, factors, home, album, settings),
        "note": note,
        "leaky": home.metadata("splits", mode).get("split_unit") == "image",
    }
    wanted = [*((name, mode) for name in ("recommendations", "splits", "dvbpr")), ("personal_designs", None)]
    return Section("people", TITLE, "People", content, home.sources(wanted))


def people(
    mode: str,
    tables: dict[str, pa.Table],
    factors: Factors | None,
    home: Home,
    album: Album,
    settings: LookbookSettings,
) -> list[Person]:
    """The users drawn, with everything the page shows of them."""
    splits, picked = tables["splits"], tables["recommendations"]
    drawn = draw(np.unique(splits["user"].to_numpy()), settings.users, settings.seed)
    reviewers = dict(zip(tables["users"]["user"].to_pylist(), tables["users"]["reviewer_id"].to_pylist(), strict=True))
    history = {user: _by_split(splits, user) for user in drawn.tolist()}
    picks = {user: _picks(picked, user, settings.picks) for user in history}
    bought = {user: mine["train"][: settings.picks - 1] for user, mine in history.items()}
    reasons = Reasons.open(home, mode, factors, tables["catalogue"])
    wanted = {item for shown in bought.values() for item in shown}
    wanted |= {item for mine in history.values() for item in mine["test"]}
    wanted |= {item for shown in picks.values() for item, _ in shown}
    wanted |= (
        reasons.wanted({user: [item for item, _ in shown] for user, shown in picks.items()}, history)
        if reasons
        else set()
    )
    shelf = cards(
        wanted, titles(tables["items"], tables["products"]), first_pictures(tables["catalogue"]), home.store(), album
    )
    made = []
    for user, mine in history.items():
        target = mine["test"][0] if mine["test"] else None
        owned = {item for items in mine.values() for item in items}
        made.append(
            Person(
                user,
                reviewers.get(user, ""),
                [shelf[item] for item in bought[user]],
                len(mine["train"]),
                None if target is None else shelf[target],
                None if target is None or factors is None else standing(factors, user, target, owned),
                [(shelf[item], score) for item, score in picks[user]],
                reasons.of(user, [item for item, _ in picks[user]], mine["train"], shelf, album) if reasons else [],
            )
        )
    return made


def _name(home: Home, mode: str) -> str:
    folder = home.picker(mode)
    return shown_name([] if folder is None else [folder.manifest().get("model", "")])


def _factors(home: Home, mode: str, splits: pa.Table) -> tuple[Factors | None, str | None]:
    """The factors of the model that made the picks, or why held-out items cannot be ranked."""
    folder = home.picker(mode)
    if folder is None:
        return None, "The recommender that made the picks is gone, so held-out items are not ranked."
    if folder.manifest()["inputs"].get("splits") != table_digest(splits):
        return None, (
            f"The champion, {folder.run}, was trained on other data than there is now, and perhaps on what is held "
            "out: held-out items are not ranked."
        )
    return Factors.load(folder.opened / "factors.npz"), None


def _by_split(splits: pa.Table, user: int) -> dict[str, list[int]]:
    mine = splits.filter(pc.equal(splits["user"], user))
    found: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for split, item in zip(mine["split"].to_pylist(), mine["item"].to_pylist(), strict=True):
        found[split].append(item)
    return found


def _picks(recommendations: pa.Table, user: int, count: int) -> list[tuple[int, float]]:
    mine: Any = recommendations.filter(pc.equal(recommendations["user"], user)).sort_by("rank").slice(0, count)
    return list(zip(mine["item"].to_pylist(), mine["score"].to_pylist(), strict=True))
