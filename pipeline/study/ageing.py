"""Compute quality by week, and how fast a model ages, from cells whose cut moves week by week.

A fresh model is one whose cut is at the beginning of the week that it is measured on. An older one is compared with the
fresh one on the same week, users and candidates, so that a hard week does not look like ageing.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from models.metrics.evaluate import mean
from models.training.deciding import name_of
from pipeline.settings.assets import EvaluationSettings
from pipeline.study.figures import Interval, interval
from pipeline.study.measures import PER_USER_MEASURES

FRESH = 1  # age in weeks
AGED = ("auc", "ndcg_at_10", "ndcg_at_100", "recall_at_10", "recall_at_50", "map_at_12")


def of_mode(rows: pd.DataFrame, manifests: Iterable[Mapping[str, Any]], settings: EvaluationSettings) -> dict[str, Any]:
    """Compute the figures of one mode.

    Args:
        rows: per-user rows of the cells, with model, split (weeks between the cut and the end), seed, part and age.
        manifests: of the same cells.
        settings: seed and number of bootstrap draws.

    Returns:
        weeks: by cut, latest last: its date and, for each week after it, counts of purchases; sort: the metric that
        decides, over the first weeks together; by_week: model -> cut -> metric -> mean over the users of the first
        week after it; ageing: model -> age -> metric -> {mean, users, change} where change is the paired difference to
        the fresh model on the same weeks, with its interval.
    """
    test = rows[rows["part"] == "test"]
    test = test.assign(week=test["split"] - test["age"] + 1)  # weeks between the start of the measured week and the end
    weeks = {manifest["split"]: manifest["weeks"] for manifest in manifests}
    first = test[test["age"] == FRESH]
    pairs = int(first.groupby(["model", "seed"])["held"].sum().median())
    by_model = {str(model): of_model for model, of_model in test.groupby("model", sort=False)}
    return {
        "weeks": {
            split: {"cut": weeks[split][0]["start"], "after": weeks[split]} for split in sorted(weeks, reverse=True)
        },
        "pairs": pairs,
        "sort": name_of(pairs),
        "by_week": {model: _by_week(of_model, settings) for model, of_model in by_model.items()},
        "ageing": {model: _ageing(of_model, settings) for model, of_model in by_model.items()},
    }


def _by_week(rows: pd.DataFrame, settings: EvaluationSettings) -> dict[int, dict[str, Interval]]:
    fresh = rows[rows["age"] == FRESH]
    found = {}
    for split in sorted(fresh["split"].unique()):
        users = fresh[fresh["split"] == split].groupby("user")
        values = {name: users[name].mean().dropna() for name in PER_USER_MEASURES if name in fresh}
        found[int(split)] = {name: interval(one, settings) for name, one in values.items() if len(one)}
    return found


def _ageing(rows: pd.DataFrame, settings: EvaluationSettings) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for age in sorted(rows["age"].unique()):
        found[int(age)] = {}
        for name in AGED:
            if name in rows:
                old, fresh = (_by_user_week(rows[rows["age"] == one], name) for one in (age, FRESH))
                change = (old - fresh).dropna().groupby("user").mean()
                found[int(age)][name] = {
                    "mean": mean(old.groupby("user").mean().to_numpy()),
                    "users": int(old.index.get_level_values("user").nunique()),
                    "weeks": int(old.index.get_level_values("week").nunique()),
                    "change": interval(change, settings) if len(change) and age != FRESH else None,
                }
    return found


def _by_user_week(rows: pd.DataFrame, column: str) -> pd.Series:
    """Average over seeds, by (week, user)."""
    return rows.groupby(["week", "user"])[column].mean().dropna()
