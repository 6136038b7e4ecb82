"""Summarise per-user metrics as figures that people compare: means, intervals, paired differences.

Computing the metrics, and choosing what to show, do not belong here.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from models.metrics import diversity
from models.metrics.intervals import bootstrap_mean, bootstrap_means, interval, paired_difference
from models.training.deciding import TITLES, name_of
from pipeline.core.errors import InputError
from pipeline.core.schemas import RECOMMENDER_COMPARISON, RECOMMENDER_EVALUATION
from pipeline.recommenders.registry import RECOMMENDERS, leading
from pipeline.settings.assets import EvaluationSettings
from pipeline.views.metric_titles import TITLES as METRIC_TITLES
from pipeline.views.paper import TABLE_3

if TYPE_CHECKING:
    import pandas as pd

    from models.metrics.evaluate import PerUser
    from pipeline.core.arrays import ModeArrays

# Figure -> the column of RECOMMENDER_EVALUATION that it is the mean of; these have a bootstrap interval too.
WITH_INTERVAL = {
    "auc": "auc",
    "warm_auc": "auc_warm",
    "warm_among_seen": "auc_warm_seen",
    "cold_auc": "auc_cold",
    "cold_among_unseen": "auc_cold_unseen",
    "auc_category": "auc_category",
    "ndcg_at_10": "ndcg_at_10",
    "ndcg_at_100": "ndcg_at_100",
}
MEANS = {
    "auc_strict": "auc_strict",
    "auc_sampled100": "auc_sampled100",
    "auc_picture": "auc_picture",
    "recall_at_10": "recall_at_10",
    "recall_at_50": "recall_at_50",
    "hit_at_10": "hit_at_10",
    "hit_at_50": "hit_at_50",
    "ndcg_at_50": "ndcg_at_50",
    "map_at_10": "map_at_10",
    "map_at_12": "map_at_12",
    "map_at_50": "map_at_50",
    "mrr": "reciprocal_rank",
    "novelty_at_10": "novelty_at_10",
}
COUNTED = {"warm_users": "auc_warm", "cold_users": "auc_cold", "category_users": "auc_category"}
OF_CATALOGUE = ("coverage_at_10", "gini_at_10")
METRICS = (*WITH_INTERVAL.values(), *MEANS.values())
DIFFERENCES = {
    "auc": "difference_to_main",
    "ndcg_at_10": "ndcg_at_10_difference",
    "ndcg_at_100": "ndcg_at_100_difference",
}

# Figures beside the AUC and its interval, with titles for narrow tables.
_COLUMN = {**WITH_INTERVAL, **MEANS, **{name: name for name in OF_CATALOGUE}}
AUCS, LISTS = (
    {name: METRIC_TITLES[_COLUMN[name]].narrow for name in names}
    for names in (
        ("warm_auc", "cold_auc", "warm_among_seen", "cold_among_unseen", "auc_category"),
        ("ndcg_at_10", "ndcg_at_50", "ndcg_at_100", "recall_at_10", "recall_at_50", "hit_at_10", "hit_at_50",
         "map_at_10", "map_at_12", "map_at_50", "mrr", "coverage_at_10", "novelty_at_10", "gini_at_10"),
    )
)  # fmt: skip


def per_user_table(measured: "PerUser", data: "ModeArrays", model: str, split: str) -> pa.Table:
    """Convert a model's metrics on a split to rows of RECOMMENDER_EVALUATION; skip users with nothing to rank."""
    ranked = np.isfinite(measured.auc)
    count = int(ranked.sum())
    columns = {
        "user": data.users[measured.user[ranked]],
        "model": pa.array([model] * count, pa.string()),
        "split": pa.array([split] * count, pa.string()),
        "paired": data.paired[measured.user[ranked]],
        "held": measured.held[ranked],
        **{name: pa.array(getattr(measured, name)[ranked], pa.float32(), from_pandas=True) for name in METRICS},
    }
    return pa.table(columns, schema=RECOMMENDER_EVALUATION)


def of_catalogue(measured: "PerUser", items: int) -> dict[str, float]:
    """Compute the figures of all users together: coverage and Gini index over a catalogue of `items` items."""
    lists = measured.recommended[np.isfinite(measured.auc)]
    return dict(zip(OF_CATALOGUE, (diversity.coverage(lists, items), diversity.gini(lists, items)), strict=True))


def flat(figures: dict[str, dict[str, dict[str, Any]]]) -> dict[str, float]:
    """Flatten figures to MLflow metrics; metrics of models other than the recommender are prefixed by the model."""
    values, own = {}, leading(figures)
    for model, splits in figures.items():
        for split, metrics in splits.items():
            prefix = f"{split}_" if model == own else f"{model}.{split}_"
            for name, value in metrics.items():
                if isinstance(value, list):
                    values[f"{prefix}{name}_low"], values[f"{prefix}{name}_high"] = value
                elif value is not None:
                    values[f"{prefix}{name}"] = value
    return values


def sorted_by(figures: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return the figure that tables of {model: {split: figures}} are sorted by: the one that models are chosen by."""
    validation = figures.get(leading(figures), {}).get("validation", {})
    return name_of(validation.get("held_out") or 0)


def best_first(
    figures: Mapping[str, Mapping[str, Mapping[str, Any]]], split: str = "test"
) -> list[tuple[str, Mapping[str, Any]]]:
    """List (model, figures of the split), best first by `sorted_by`."""
    by = sorted_by(figures)
    found = [(model, splits[split]) for model, splits in figures.items() if split in splits]
    return sorted(found, key=lambda pair: -(pair[1].get(by) or 0))


def markdown(figures: Mapping[str, Mapping[str, Mapping[str, Any]]], split: str = "test") -> str:
    """Make a table of the figures of one split for the Dagster UI, best first."""
    names = {**AUCS, **LISTS}
    lines = [
        f"| model ({split}) | AUC | 95% interval | {' | '.join(names.values())} |",
        f"|---|---:|---|{'---:|' * len(names)}",
    ]
    for model, m in best_first(figures, split):
        low, high = m["auc_ci95"]
        lines.append(f"| {model} | {m['auc']:.4f} | {low:.3f}-{high:.3f} | {' | '.join(in_short(m, names))} |")
    return "\n".join([*lines, "", f"Sorted by {TITLES[sorted_by(figures)]}, by which models are chosen on validation."])


def in_short(figures: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Format figures for a table; empty for those that no user has, or that an older evaluation lacks."""
    return ["" if figures.get(name) is None else f"{figures[name]:.3f}" for name in names]


def summarise(per_user: "pd.DataFrame", settings: EvaluationSettings) -> dict[str, Any]:
    """Summarise one model on one split: means over users, most with intervals; None if no user has a value.

    Args:
        per_user: rows of RECOMMENDER_EVALUATION.
        settings: seed and number of bootstrap draws.
    """
    figures: dict[str, Any] = {}
    for name, column in WITH_INTERVAL.items():
        values = per_user[column].dropna().to_numpy(np.float64)
        figures[name] = _mean(values)
        drawn = bootstrap_mean(values, settings.seed, settings.resamples)
        figures[f"{name}_ci95"] = list(drawn) if len(values) else None
    figures |= {name: _mean(per_user[column].to_numpy(np.float64)) for name, column in MEANS.items()}
    figures |= {name: int(per_user[column].notna().sum()) for name, column in COUNTED.items()}
    return {**figures, "held_out": int(per_user["held"].sum())}


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def summaries(table: pa.Table, settings: EvaluationSettings) -> dict[str, dict[str, dict[str, Any]]]:
    """Summarise every model and split of a RECOMMENDER_EVALUATION table: {model: {split: figures}}."""
    by_model: dict[str, dict[str, dict[str, Any]]] = {}
    for (model, split), rows in table.to_pandas().groupby(["model", "split"], sort=False):
        by_model.setdefault(str(model), {})[str(split)] = summarise(rows, settings)
    return by_model


def expect_ranked(figures: Mapping[str, Mapping[str, Any]], mode: str, users: int, items: int) -> None:
    """Check that at least one held-out item was ranked on both splits.

    Raises:
        InputError: none was; the message names mode, split and where to look.
    """
    for split in ("validation", "test"):
        if split not in figures.get(leading(figures), {}):
            raise InputError(
                f"image mode {mode}: none of {users} users has a {split} item and other items to rank it against "
                f"({items} items), so nothing can be evaluated: see the counts of splits[{mode}] for the step that "
                "left so little."
            )


def compare(
    by_mode: Mapping[str, pa.Table],
    settings: EvaluationSettings,
    evaluated: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
) -> list[dict[str, Any]]:
    """Compare every model of every mode with that mode's recommender: rows of RECOMMENDER_COMPARISON.

    Args:
        by_mode: RECOMMENDER_EVALUATION of each mode.
        settings: seed and number of bootstrap draws.
        evaluated: {mode: {model: {split: figures}}}, for the figures of the whole catalogue, which per-user rows lack.
    """
    published = {name for name, one in RECOMMENDERS.items() if one.published}
    rows = []
    for mode, table in by_mode.items():
        for split, of_split in table.to_pandas().groupby("split", sort=False):
            models = {str(model): frame for model, frame in of_split.groupby("model", sort=False)}
            own = leading(models)
            reference = models.get(own)
            for model, frame in models.items():
                whole = (evaluated or {}).get(mode, {}).get(model, {}).get(str(split), {})
                figures = {name: whole.get(name) for name in OF_CATALOGUE} | summarise(frame, settings)
                row = {
                    "mode": mode,
                    "model": model,
                    "split": split,
                    "users": len(frame),
                    "paper_auc": TABLE_3.get(mode) if model in published and split == "validation" else None,
                    **{name: value for name, value in figures.items() if name in RECOMMENDER_COMPARISON.names},
                }
                for metric, name in DIFFERENCES.items():
                    row[f"{metric}_low"], row[f"{metric}_high"] = figures[f"{metric}_ci95"]
                    difference = (None, None, None)
                    if reference is not None and model != own:
                        both = _side_by_side({"model": frame, "reference": reference}, WITH_INTERVAL[metric])
                        difference = paired_difference(both[:, 0], both[:, 1], settings.seed, settings.resamples)
                    ends = name.removesuffix("_to_main")
                    row[name], row[f"{ends}_low"], row[f"{ends}_high"] = difference
                rows.append(row)
    return rows


def between_models(
    table: pa.Table, split: str, settings: EvaluationSettings, metric: str = "auc"
) -> list[dict[str, Any]]:
    """Compare every two models of a mode by a metric: mean difference over common users, and its paired interval.

    Args:
        table: RECOMMENDER_EVALUATION of one mode.
        split: validation or test.
        settings: seed and number of bootstrap draws; all pairs share the draws.
        metric: a column of the table; users without a value are left out.
    """
    frame = table.to_pandas()
    frame = frame[frame["split"] == split]
    models = {str(model): rows for model, rows in frame.groupby("model", sort=False)}
    values = _side_by_side(models, metric)
    if not len(values):
        return []
    means = bootstrap_means(values, settings.seed, settings.resamples)
    rows = []
    for (one, first), (other, second) in combinations(enumerate(models), 2):
        low, high = interval(means[:, other] - means[:, one])
        difference = float((values[:, other] - values[:, one]).mean())
        row = {"models": f"{second} - {first}", "users": len(values), metric: difference, "low": low, "high": high}
        rows.append(row)
    return rows


def between_modes(by_mode: Mapping[str, pa.Table], split: str, settings: EvaluationSettings) -> list[dict[str, Any]]:
    """Compare the recommenders of every two modes on users with the same hold-outs: mean difference and interval."""
    values = {}
    for mode, table in by_mode.items():
        frame = table.to_pandas()
        own = frame["model"] == leading(frame["model"])
        values[mode] = frame[own & (frame["split"] == split) & frame["paired"]]
    rows = []
    for first, second in combinations(values, 2):
        both = _side_by_side({second: values[second], first: values[first]}, "auc")
        if len(both):
            mean, low, high = paired_difference(both[:, 0], both[:, 1], settings.seed, settings.resamples)
            rows.append({"modes": f"{second} - {first}", "users": len(both), "auc": mean, "low": low, "high": high})
    return rows


def _side_by_side(frames: Mapping[str, "pd.DataFrame"], metric: str) -> np.ndarray:
    """Align a metric of several frames over the users who have a value in all of them: [users, frames]."""
    import pandas as pd

    columns = [frame.set_index("user")[metric] for frame in frames.values()]
    return pd.concat(columns, axis=1, join="inner").dropna().to_numpy(np.float64) if columns else np.empty((0, 0))
