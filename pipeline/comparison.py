"""From per-user metrics to the figures people compare: means, intervals, paired differences.

The metrics themselves are `models/evaluate.py`; what is shown where belongs to the assets and the lookbook.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from models.evaluate import PerUser, bootstrap_mean, paired_difference
from pipeline.config import EvaluationSettings
from pipeline.core.arrays import ModeArrays
from pipeline.core.schemas import RECOMMENDER_EVALUATION
from pipeline.paper import TABLE_3

REFERENCE_MODEL = "dvbpr"
METRICS = ("auc", "auc_strict", "auc_sampled100", "auc_picture", "recall_at_10", "ndcg_at_10")


def per_user_table(measured: PerUser, data: ModeArrays, model: str, split: str) -> pa.Table:
    """One model's metrics on one split as rows of RECOMMENDER_EVALUATION; users with nothing to rank are left out."""
    ranked = np.isfinite(measured.auc)
    count = int(ranked.sum())
    columns = {
        "user": data.users[measured.user[ranked]],
        "model": pa.array([model] * count, pa.string()),
        "split": pa.array([split] * count, pa.string()),
        "item": data.items[measured.item[ranked]],
        "cold": measured.cold[ranked],
        "paired": data.paired[measured.user[ranked]],
        **{name: getattr(measured, name)[ranked] for name in METRICS},
    }
    return pa.table(columns, schema=RECOMMENDER_EVALUATION)


def flat(figures: dict[str, dict[str, dict[str, Any]]]) -> dict[str, float]:
    """Figures as MLflow metrics: dvbpr's under their own names, the others' behind the model's."""
    values = {}
    for model, splits in figures.items():
        for split, metrics in splits.items():
            prefix = f"{split}_" if model == REFERENCE_MODEL else f"{model}.{split}_"
            for name, value in metrics.items():
                if isinstance(value, list):
                    values[f"{prefix}{name}_low"], values[f"{prefix}{name}_high"] = value
                elif value is not None:
                    values[f"{prefix}{name}"] = value
    return values


def markdown(figures: dict[str, dict[str, dict[str, Any]]], split: str = "test") -> str:
    """Figures of one split as a table for the Dagster UI, best first."""
    lines = [f"| model ({split}) | AUC | 95% interval | warm | cold | recall@10 |", "|---|---:|---|---:|---:|---:|"]
    for model, splits in sorted(figures.items(), key=lambda pair: -pair[1][split]["auc"]):
        m = splits[split]
        shown = ["" if m[key] is None else f"{m[key]:.3f}" for key in ("warm_auc", "cold_auc", "recall_at_10")]
        low, high = m["auc_ci95"]
        lines.append(f"| {model} | {m['auc']:.4f} | {low:.3f}-{high:.3f} | {' | '.join(shown)} |")
    return "\n".join(lines)


def summarise(per_user: pd.DataFrame, settings: EvaluationSettings) -> dict[str, Any]:
    """The figures of one model on one split.

    Args:
        per_user: rows of RECOMMENDER_EVALUATION.
        settings: seed and number of bootstrap draws.
    """
    cold = per_user["cold"].to_numpy()
    auc = per_user["auc"].to_numpy(np.float64)
    low, high = bootstrap_mean(auc, settings.seed, settings.resamples)

    def mean(values: np.ndarray) -> float | None:
        return float(values.mean()) if len(values) else None

    return {
        "auc": float(auc.mean()),
        "auc_ci95": [low, high],
        "auc_strict": mean(per_user["auc_strict"].to_numpy(np.float64)),
        "auc_sampled100": mean(per_user["auc_sampled100"].to_numpy(np.float64)),
        "auc_picture": mean(per_user["auc_picture"].to_numpy(np.float64)),
        "cold_auc": mean(auc[cold]),
        "cold_users": int(cold.sum()),
        "warm_auc": mean(auc[~cold]),
        "recall_at_10": mean(per_user["recall_at_10"].to_numpy(np.float64)),
        "ndcg_at_10": mean(per_user["ndcg_at_10"].to_numpy(np.float64)),
    }


def summaries(table: pa.Table, settings: EvaluationSettings) -> dict[str, dict[str, dict[str, Any]]]:
    """`summarise` for every model and split of a RECOMMENDER_EVALUATION table: {model: {split: figures}}."""
    made: dict[str, dict[str, dict[str, Any]]] = {}
    for (model, split), rows in table.to_pandas().groupby(["model", "split"], sort=False):
        made.setdefault(str(model), {})[str(split)] = summarise(rows, settings)
    return made


def compare(by_mode: Mapping[str, pa.Table], settings: EvaluationSettings) -> list[dict[str, Any]]:
    """Rows of RECOMMENDER_COMPARISON: every model of every mode, with its paired difference to that mode's DVBPR."""
    rows = []
    for mode, table in by_mode.items():
        for split, of_split in table.to_pandas().groupby("split", sort=False):
            models = {
                str(model): rows.set_index("user")["auc"] for model, rows in of_split.groupby("model", sort=False)
            }
            reference = models.get(REFERENCE_MODEL)
            for model, auc in models.items():
                low, high = bootstrap_mean(auc.to_numpy(np.float64), settings.seed, settings.resamples)
                difference = (None, None, None)
                if reference is not None and model != REFERENCE_MODEL:
                    both = pd.concat([auc, reference], axis=1, join="inner").to_numpy(np.float64)
                    difference = paired_difference(both[:, 0], both[:, 1], settings.seed, settings.resamples)
                rows.append(
                    {
                        "mode": mode,
                        "model": model,
                        "split": split,
                        "users": len(auc),
                        "auc": float(auc.mean()),
                        "auc_low": low,
                        "auc_high": high,
                        "difference_to_dvbpr": difference[0],
                        "difference_low": difference[1],
                        "difference_high": difference[2],
                        "paper_auc": TABLE_3[mode] if model == REFERENCE_MODEL and split == "validation" else None,
                    }
                )
    return rows


def between_modes(by_mode: Mapping[str, pa.Table], split: str, settings: EvaluationSettings) -> list[dict[str, Any]]:
    """DVBPR of each pair of modes on the users whose hold-outs they share: mean difference and its interval."""
    values = {}
    for mode, table in by_mode.items():
        frame = table.to_pandas()
        chosen = frame[(frame["model"] == REFERENCE_MODEL) & (frame["split"] == split) & frame["paired"]]
        values[mode] = chosen.set_index("user")["auc"]
    modes, rows = list(values), []
    for place, first in enumerate(modes):
        for second in modes[place + 1 :]:
            both = pd.concat([values[second], values[first]], axis=1, join="inner").to_numpy(np.float64)
            if len(both):
                mean, low, high = paired_difference(both[:, 0], both[:, 1], settings.seed, settings.resamples)
                rows.append({"modes": f"{second} - {first}", "users": len(both), "auc": mean, "low": low, "high": high})
    return rows
