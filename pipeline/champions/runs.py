"""Compare all recommenders of one data version: their AUC with intervals and paired differences.

A run here is a model folder that was trained on the same catalogue and splits, whatever its settings.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from models.data.factors import Factors
from models.metrics.evaluate import auc_of_each
from models.metrics.intervals import bootstrap_mean, mean, paired_difference
from models.metrics.list_metrics import group_by_user, mean_by_user
from pipeline.core import arrays
from pipeline.core import parquet as pq
from pipeline.home.storage import ModelFolder, Storage
from pipeline.recommenders import warm_start
from pipeline.settings.assets import EvaluationSettings

DATA = ("catalogue", "splits")  # two recommenders with equal digests of these were trained on the same data


def runs_of(storage: Storage, mode: str) -> list[ModelFolder]:
    """List the finished runs on the data of the mode's current model, oldest first; none if there is no model."""
    parent = storage.parent("recommender", mode)
    if not (parent / "current.json").is_file():
        return []
    wanted = _data(storage.current("recommender", mode))
    folders = [ModelFolder(parent, path.parent.name) for path in parent.glob("*/manifest.json")]
    of_data = [folder for folder in folders if _data(folder) == wanted]
    return sorted(of_data, key=lambda folder: ((folder.path / "manifest.json").stat().st_mtime, folder.run))


def compare_runs(
    runs: Sequence[ModelFolder], champion: str | None, settings: EvaluationSettings, device: torch.device
) -> list[dict[str, Any]]:
    """Return a row per run and split: its mean AUC with its interval, and its paired difference to the reference run.

    The reference is the champion if it is one of the runs, else the newest run.

    Args:
        runs: of one data version, oldest first.
        champion: the folder name of the present champion.
        settings: seed and number of bootstrap draws; all differences share the draws.
        device: to score on.
    """
    if not runs:
        return []
    differing = _differing(runs)
    reference = champion if champion in [folder.run for folder in runs] else runs[-1].run
    rows = []
    for split in ("validation", "test"):
        values = {folder.run: _auc(folder, split, device) for folder in runs}
        for folder in runs:
            manifest, auc = folder.manifest(), values[folder.run]
            low, high = bootstrap_mean(auc, settings.seed, settings.resamples)
            difference: tuple[float | None, ...] = (None, None, None)
            if folder.run != reference:
                difference = paired_difference(auc, values[reference], settings.seed, settings.resamples)
            rows.append(
                {
                    "run": folder.run,
                    "champion": folder.run == champion,
                    "split": split,
                    "users": int(np.isfinite(auc).sum()),
                    "auc": mean(auc),
                    "auc_low": low,
                    "auc_high": high,
                    "reference": reference,
                    "difference": difference[0],
                    "difference_low": difference[1],
                    "difference_high": difference[2],
                    "settings": differing[folder.run],
                    "mlflow_run": manifest["mlflow_run"],
                }
            )
    return rows


def markdown(rows: Sequence[dict[str, Any]], split: str = "test") -> str:
    """Format the rows of one split as a Markdown table for Dagster's UI, best first."""
    reference = rows[0]["reference"] if rows else ""
    lines = [
        f"| run | {split} AUC | 95% interval | less {reference} | 95% interval | what differs |",
        "|---|---:|---|---:|---|---|",
    ]
    for row in sorted((row for row in rows if row["split"] == split), key=lambda row: -row["auc"]):
        name = f"**{row['run']}** (champion)" if row["champion"] else row["run"]
        paired = ("", "")
        if row["difference"] is not None:
            paired = f"{row['difference']:+.4f}", f"{row['difference_low']:+.4f} to {row['difference_high']:+.4f}"
        interval = f"{row['auc_low']:.3f}-{row['auc_high']:.3f}"
        lines.append(f"| {name} | {row['auc']:.4f} | {interval} | {paired[0]} | {paired[1]} | {row['settings']} |")
    return "\n".join(lines)


def model_arrays(folder: ModelFolder) -> arrays.ModeArrays:
    """Load the data that a model was trained on, from the tables in its folder."""
    return arrays.mode_arrays(*(pq.read_table(folder.path / f"{name}.parquet") for name in DATA))


def trained_before(folder: ModelFolder, data: arrays.ModeArrays) -> np.ndarray:
    """Return the pairs that the model's ancestors (warm starts) were trained on and the model itself was not.

    As [n, 2] int64 of (user row, item row). Pairs of users or items that its data no longer has are left out.
    """
    earlier = warm_start.trained_on(folder.path)
    user, item = earlier["user"].to_numpy(), earlier["item"].to_numpy()
    known = np.isin(user, data.users) & np.isin(item, data.items)
    pairs = np.stack([np.searchsorted(data.users, user[known]), np.searchsorted(data.items, item[known])], axis=1)
    own = data.pairs["train"].astype(np.int64)
    return pairs[~np.isin(_codes(pairs, data), _codes(own, data))]


def _codes(pairs: np.ndarray, data: arrays.ModeArrays) -> np.ndarray:
    """Encode each pair as one number."""
    return pairs[:, 0] * len(data.items) + pairs[:, 1]


def _auc(folder: ModelFolder, split: str, device: torch.device) -> np.ndarray:
    """Compute each user's exact AUC: the mean over held-out pairs that no ancestor was trained on, NaN without one.

    It is computed from the model's folder, with the same users in every run.
    """
    data = model_arrays(folder)
    held_out, before = data.pairs[split].astype(np.int64), trained_before(folder, data)
    touched = np.concatenate([*data.pairs.values(), before])
    auc = auc_of_each(Factors.load(folder.verified / "factors.npz"), held_out, touched, device)
    auc[np.isin(_codes(held_out, data), _codes(before, data))] = np.nan
    users, group = group_by_user(held_out)
    return mean_by_user(auc, group, len(users))


def _data(folder: ModelFolder) -> tuple[str, ...]:
    inputs = folder.manifest()["inputs"]
    return tuple(inputs[name] for name in DATA)


def _differing(runs: Sequence[ModelFolder]) -> dict[str, str]:
    """Describe, for each run, the settings and inputs in which the runs differ."""
    manifests = {folder.run: folder.manifest() for folder in runs}
    flat = {
        run: {
            **made["settings"],
            **made["inputs"],
            "code_version": made["code_version"],
            "begun_from": made.get("begun_from") or "new",
        }
        for run, made in manifests.items()
    }
    names = dict.fromkeys(name for values in flat.values() for name in values)
    differing = [name for name in names if len({str(values.get(name)) for values in flat.values()}) > 1]
    return {run: ", ".join(f"{name} {values.get(name)}" for name in differing) for run, values in flat.items()}
