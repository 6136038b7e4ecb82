"""Choose, among the models of one mode that were trained on the same data, the one to serve and the one that sees.

The lists that people see come from the first; designs, search by picture and new items from the second. Replacing an
earlier champion belongs in `champion.py`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.metrics.intervals import mean, paired_difference
from pipeline.recommenders import registry
from pipeline.settings.assets import ChampionSettings

if TYPE_CHECKING:
    import pandas as pd

DECIDES, FLOOR = "ndcg_at_100", "ndcg_at_10"  # the figure that decides; the one that must not be below popularity's


@dataclass(frozen=True)
class Choice:
    """The chosen model, and every model's figures."""

    name: str
    why: str  # a sentence
    rows: list[dict[str, Any]]  # by model, best first: figures, differences, whether it can be served
    below: tuple[str, ...] = ()  # models whose NDCG@10 lies below popularity's by its whole interval
    ahead: tuple[str, ...] = ()  # models that cannot be served and are better than the chosen one by their interval


def choose(
    table: "pd.DataFrame", servable: Collection[str], settings: ChampionSettings, floored: bool = True
) -> Choice:
    """Choose by paired bootstrap of NDCG@100 over the test users.

    Models whose NDCG@10 lies below popularity's by its whole interval are no candidates, unless all that can be served
    do; the check of the champion then fails. Of the others the best mean
    wins, except that a main recommender, or else popularity, is kept unless the best one beats it by the whole
    interval. With fewer users than `settings.minimum` nothing is compared, and the first main recommender is chosen.

    Args:
        table: rows of RECOMMENDER_EVALUATION of one mode.
        servable: models that can be chosen.
        settings: seed, number of bootstrap draws, minimum number of users.
        floored: whether popularity is the floor; without it only NDCG@100 decides.

    Raises:
        ValueError: no servable model was evaluated.
    """
    decides, floor = (_by_model(table, figure) for figure in (DECIDES, FLOOR))
    candidates = [name for name in registry.RECOMMENDERS if name in decides and name in servable]
    if not candidates:
        raise ValueError("no model that can be served was evaluated: materialise recommender_evaluation again")
    main = [one.name for one in registry.main() if one.name in candidates]
    popular = registry.floor().name
    users = len(decides[candidates[0]])

    def differ(of: Mapping[str, np.ndarray], one: str, other: str) -> tuple[float, float, float]:
        return paired_difference(of[one], of[other], settings.seed, settings.resamples)

    below = tuple(
        name
        for name in candidates
        if floored and users >= settings.minimum and popular in floor and differ(floor, name, popular)[2] < 0
    )
    standing = [name for name in candidates if name not in below] or candidates  # where popularity cannot be served
    best = max(standing, key=lambda name: mean(decides[name]))  # the first of equals
    if users < settings.minimum:
        chosen = next(iter(main), best)
        why = f"only {users} users can be compared, {settings.minimum} are required: the first main recommender."
    else:
        preferred = [*main, popular] if floored else main
        kept = [n for n in preferred if n in standing and (n == best or differ(decides, best, n)[1] <= 0)]
        chosen = next(iter(kept), best)
        why = _why(chosen, best, {name: mean(decides[name]) for name in candidates}, below)
    ahead = tuple(
        name
        for name in decides
        if name not in servable
        and not registry.is_oracle(name)
        and users >= settings.minimum
        and differ(decides, name, chosen)[1] > 0
    )
    rows = [
        {
            "model": name,
            DECIDES: mean(decides[name]),
            FLOOR: mean(floor[name]),
            "less_chosen": differ(decides, name, chosen) if name != chosen else None,
            "less_popularity": differ(floor, name, popular) if popular in floor and name != popular else None,
            "can_be_served": name in servable,
            "chosen": name == chosen,
        }
        for name in sorted(decides, key=lambda name: -mean(decides[name]))
    ]
    return Choice(chosen, why, rows, below, ahead)


def difference(table: "pd.DataFrame", figure: str, one: str, other: str, settings: ChampionSettings) -> dict[str, Any]:
    """Compare two evaluated models by a figure of the test users. Returns as `of_values`."""
    values = _by_model(table, figure)
    return of_values(values[one], values[other], settings)


def against_popularity(table: "pd.DataFrame", served: str, settings: ChampionSettings) -> str:
    """Say in words whether the lists of a model are better than those of popularity, by NDCG@100 on test.

    Empty for popularity itself, and where one of the two was not evaluated.
    """
    popular, values = registry.floor().name, _by_model(table, DECIDES)
    if served == popular or not {served, popular} <= values.keys():
        return ""
    ours, theirs = values[served], values[popular]
    found = of_values(ours, theirs, settings)
    figures = f"{mean(ours):.3f} against {mean(theirs):.3f} of {registry.title(popular)}"
    if "why" in found:
        return f"NDCG@100 {figures}; whether that is chance is open: {found['why']}"
    if found["low"] > 0:
        verdict = "better lists than the most popular items"
    elif found["below"]:
        verdict = "worse lists than the most popular items"
    else:
        verdict = "nothing shows that these lists are better than the most popular items"
    return f"NDCG@100 {figures}, {found['difference']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f}): {verdict}"


def of_values(served: np.ndarray, popular: np.ndarray, settings: ChampionSettings) -> dict[str, Any]:
    """Compare what is served with popularity by their values for the same users.

    Returns:
        `compared`, the number of users; `difference`, served minus popularity, with `low` and `high`; `below`, whether
        the whole interval lies below 0; and `why`, if too few users are compared.
    """
    known = np.isfinite(served) & np.isfinite(popular)
    if known.sum() < settings.minimum:
        why = f"only {known.sum()} users can be compared, {settings.minimum} are required"
        return {"compared": int(known.sum()), "below": False, "why": why}
    found, low, high = paired_difference(served[known], popular[known], settings.seed, settings.resamples)
    return {"compared": int(known.sum()), "difference": found, "low": low, "high": high, "below": high < 0}


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format the models as a Markdown table for Dagster's UI."""
    lines = [
        "| model | NDCG@100 | less the chosen one (95%) | NDCG@10 | less popularity (95%) | can be served |",
        "|---|---:|---|---:|---|---|",
    ]
    for row in rows:
        name = f"**{row['model']}**" if row["chosen"] else row["model"]
        paired = [_interval(row[key]) for key in ("less_chosen", "less_popularity")]
        served = "yes" if row["can_be_served"] else "no"
        lines.append(f"| {name} | {row[DECIDES]:.4f} | {paired[0]} | {row[FLOOR]:.4f} | {paired[1]} | {served} |")
    return "\n".join(lines)


def _by_model(table: "pd.DataFrame", figure: str) -> dict[str, np.ndarray]:
    """Align a figure of the test split over the users that all models have: {model: [users]}."""
    test = table[table["split"] == "test"]
    wide = test.pivot(index="user", columns="model", values=figure).dropna()
    return {str(name): wide[name].to_numpy(np.float64) for name in wide.columns}


def _why(chosen: str, best: str, means: Mapping[str, float], below: Collection[str]) -> str:
    left_out = f" Below popularity in NDCG@10: {', '.join(below)}." if below else ""
    if chosen == best:
        return f"{chosen} has the best NDCG@100, {means[chosen]:.4f}.{left_out}"
    return (
        f"{best} has the best NDCG@100, {means[best]:.4f}, but does not beat {chosen} ({means[chosen]:.4f}) by its "
        f"interval, and {chosen} is kept unless it is beaten.{left_out}"
    )


def _interval(found: tuple[float, float, float] | None) -> str:
    return "" if found is None else f"{found[0]:+.4f} ({found[1]:+.4f} to {found[2]:+.4f})"
