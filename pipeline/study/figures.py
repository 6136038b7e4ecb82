"""Compute a study's figures from the per-user rows of its cells. Nothing here may train or choose a model."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from models.metrics.evaluate import bootstrap_mean, mean
from models.training.deciding import name_of
from pipeline.settings.assets import EvaluationSettings
from pipeline.study.measures import COMPARED, OF_LISTS, PER_USER_MEASURES
from pipeline.study.one_cell import SHUFFLED

HALF = 0.5
Interval = dict[str, float | int]


def of_mode(
    rows: pd.DataFrame,
    reference: str,
    settings: EvaluationSettings,
    ablations: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """Compute the figures of one protocol and mode.

    Args:
        rows: per-user rows of all cells, with model, split, seed and part.
        reference: the model that the others are compared with.
        settings: seed and number of bootstrap draws.
        ablations: base model -> {variant: its name}, of which those in `rows` are compared with their base.

    Returns:
        users, pairs (held out in a split), sort (the metric that decides), models, shuffled_labels and ablations.
    """
    test, validation = rows[rows["part"] == "test"], rows[rows["part"] == "validation"]
    by_model = {str(model): of_model for model, of_model in test.groupby("model", sort=False)}
    figures = {model: _of_model(of_model, settings) for model, of_model in by_model.items()}
    for model, row in figures.items():
        row["validation_auc"] = mean(user_means(by_split(validation[validation["model"] == model], "auc")).to_numpy())
        if reference in by_model and model != reference and not model.endswith(SHUFFLED):
            row["difference"] = differences(by_model[model], by_model[reference], settings)
    shuffled = {model: row for model, row in figures.items() if model.endswith(SHUFFLED)}
    for row in shuffled.values():
        row["holds"] = row["auc"]["low"] <= HALF <= row["auc"]["high"]
    pairs = int(test.groupby(["model", "split", "seed"])["held"].sum().median())
    return {
        "users": int(test["user"].nunique()),
        "pairs": pairs,
        "sort": name_of(pairs),
        "models": {model: row for model, row in figures.items() if model not in shuffled},
        "shuffled_labels": shuffled,
        "ablations": {
            base: {
                model: {"name": name, "difference": differences(by_model[model], by_model[base], settings)}
                for model, name in named.items() if model in by_model
            }
            for base, named in (ablations or {}).items() if base in by_model and named.keys() & by_model.keys()
        },
    }  # fmt: skip


def with_manifests(figures: dict[str, Any], manifests: Iterable[Mapping[str, Any]]) -> None:
    """Add to each model what its cells' manifests hold: figures of its lists, times and settings."""
    by_model: dict[str, list[Mapping[str, Any]]] = {}
    for manifest in manifests:
        by_model.setdefault(manifest["model"], []).append(manifest)
    for model, row in figures["models"].items():
        own = by_model[model]
        row |= {name: mean(np.array([m["lists"][name] for m in own])) for name in OF_LISTS}
        row |= {name: round(float(np.mean([m[name] for m in own])), 2) for name in ("seconds", "training_seconds")}
        row |= {name: own[0][name] for name in ("settings", "selected_by")}


def differences(rows: pd.DataFrame, other: pd.DataFrame, settings: EvaluationSettings) -> dict[str, Interval | None]:
    """Compute the paired differences of two models, over the users and splits that both have."""
    found: dict[str, Interval | None] = {}
    for name in COMPARED:
        found[name] = None
        if name in rows and name in other:
            paired = (by_split(rows, name) - by_split(other, name)).dropna()  # aligned by (split, user)
            if len(paired):
                splits = paired.groupby("split").mean()
                of_splits = {"lowest_split": float(splits.min()), "highest_split": float(splits.max())}
                found[name] = {**interval(user_means(paired), settings), "splits": len(splits), **of_splits}
    return found


def by_split(rows: pd.DataFrame, column: str) -> pd.Series:
    """Average over seeds, by (split, user); users without a value are left out."""
    return rows.groupby(["split", "user"])[column].mean().dropna().astype(np.float64)


def user_means(values: pd.Series) -> pd.Series:
    """Average over splits, by user."""
    return values.groupby("user").mean()


def interval(values: pd.Series, settings: EvaluationSettings) -> Interval:
    """Return the mean of the users' values with its 95% bootstrap interval."""
    low, high = bootstrap_mean(values.to_numpy(), settings.seed, settings.resamples)
    return {"mean": mean(values.to_numpy()), "low": low, "high": high, "users": len(values)}


def _of_model(rows: pd.DataFrame, settings: EvaluationSettings) -> dict[str, Any]:
    figures: dict[str, Any] = {"splits": int(rows["split"].nunique()), "seeds": int(rows["seed"].nunique())}
    for name, measure in PER_USER_MEASURES.items():
        values = user_means(by_split(rows, name)) if name in rows else pd.Series(dtype=np.float64)
        figures[name] = None
        if len(values):
            plain = {"mean": mean(values.to_numpy()), "users": len(values)}
            figures[name] = interval(values, settings) if measure.interval else plain
    cells = rows.groupby(["split", "seed"])["auc"].mean().unstack()  # [splits, seeds]
    between = cells.mean(axis=1)
    figures["sd_between_splits"] = float(between.std(ddof=1)) if len(between) > 1 else None
    within = cells.var(axis=1, ddof=1).mean() if cells.shape[1] > 1 else np.nan
    figures["sd_between_seeds"] = float(np.sqrt(within)) if np.isfinite(within) else None
    figures["cells"] = rows.groupby(["split", "seed"])["auc"].mean().reset_index().to_dict("records")
    return figures
