"""Report a study: report.md, report.json and report.png over all its finished cells.

Only this module reads a study's test figures. Nothing here may train or choose a model.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.metrics.evaluate import bootstrap_mean, mean
from pipeline.core import parquet as pq
from pipeline.core.durable import write_whole
from pipeline.core.errors import InputError
from pipeline.core.schemas import IMAGE_MODES
from pipeline.home.storage import MANIFEST, write_json
from pipeline.settings.assets import EvaluationSettings
from pipeline.study.one_cell import PER_USER, SHUFFLED
from pipeline.views import plots, sheets

PROTOCOL = """\
Exact AUC of one held-out item per user against all items that the user never touched; ties count a half. Each user's \
values are averaged over seeds, then over splits. Figures are means over users. Intervals are 95% bootstrap intervals \
over users, so they show how much another sample of users would change a figure. How much another split or seed would \
change it is shown by two standard deviations: between splits (of means over seeds) and between the seeds of a split. \
Warm items are held-out items that another user touches in train; cold items are touched by nobody in train. A user \
counts for either if any split held out such an item. Within type: ranked among the items of the held-out item's \
product type. A difference is paired: the same users, on the splits that both models have. Every choice was made on \
validation; only this report reads test.\
"""
# name -> (column of per_user.parquet, which rows)
MEASURES: dict[str, tuple[str, str]] = {
    "auc": ("auc", "all"),
    "warm": ("auc_warm", "all"),
    "cold": ("auc_cold", "all"),
    "within_type": ("auc_category", "all"),
}
HALF = 0.5


@dataclass(frozen=True)
class WrittenReport:
    """A written report."""

    path: Path
    markdown: str
    figures: dict[str, Any]


def write(root: Path, reference: str, settings: EvaluationSettings) -> WrittenReport:
    """Write a study's report from its finished cells.

    Args:
        root: the study's folder.
        reference: the model that the others are compared with.
        settings: seed and number of bootstrap draws.

    Raises:
        InputError: no cell is finished, or none of the reference.
    """
    manifests, rows = _read(root)
    models = sorted({manifest["model"] for manifest in manifests})
    if reference not in models:
        raise InputError(f"{root}: no finished cell of the reference {reference}; there are: {', '.join(models)}.")
    modes = [mode for mode in IMAGE_MODES if mode in set(rows["mode"])]
    figures = {
        "study": root.name,
        "protocol": PROTOCOL,
        "reference": reference,
        "code": sorted({manifest["code"] for manifest in manifests}),
        "devices": sorted({manifest["device"] for manifest in manifests}),
        "seconds": round(sum(manifest["seconds"] for manifest in manifests), 1),
        "bootstrap": {"seed": settings.seed, "resamples": settings.resamples},
        "modes": {mode: of_mode(rows[rows["mode"] == mode], reference, settings) for mode in modes},
    }
    for mode in modes:
        for model, of_model in figures["modes"][mode]["models"].items():
            own = [m for m in manifests if (m["image_mode"], m["model"]) == (mode, model)]
            of_model["cell_seconds"] = round(float(np.mean([m["seconds"] for m in own])), 2)
            of_model["settings"] = own[0]["settings"]
    markdown = to_markdown(figures)
    write_json(root / "report.json", figures)
    write_whole(root / "report.md", lambda temporary: temporary.write_text(markdown))
    sheets.save(root / "report.png", plots.comparison(_chart_rows(figures), "test"))
    return WrittenReport(root / "report.md", markdown, figures)


def _read(root: Path) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    manifests, parts = [], []
    for path in sorted(root.glob(f"*/split-*/seed-*/*/{MANIFEST}")):
        manifest = json.loads(path.read_text())
        keys = {"mode": manifest["image_mode"], "model": manifest["model"]}
        keys |= {"split": manifest["split"], "seed": manifest["seed"]}
        manifests.append(manifest)
        parts.append(pq.read_table(path.with_name(PER_USER)).to_pandas().assign(**keys))
    if not parts:
        raise InputError(f"{root}: no cell of this study is finished, so there is nothing to report.")
    return manifests, pd.concat(parts, ignore_index=True)


def of_mode(rows: pd.DataFrame, reference: str, settings: EvaluationSettings) -> dict[str, Any]:
    """Compute one mode's figures: {"users", "models": {model: figures}, "shuffled_labels": {model: figures}}.

    Args:
        rows: per-user rows of all cells, with model, split, seed and part.
        reference: the model that the others are compared with.
        settings: seed and number of bootstrap draws.
    """
    test = rows[rows["part"] == "test"]
    validation = rows[rows["part"] == "validation"]
    by_model = {str(model): of_model for model, of_model in test.groupby("model", sort=False)}
    figures = {model: _of_model(of_model, settings) for model, of_model in by_model.items()}
    for model, row in figures.items():
        of_model = validation[validation["model"] == model]
        row["validation_auc"] = mean(_user_means(_by_split(of_model, "auc")).to_numpy())
        if reference in by_model and model != reference and not model.endswith(SHUFFLED):
            row["difference"] = _differences(by_model[model], by_model[reference], settings)
    shuffled = {model: row for model, row in figures.items() if model.endswith(SHUFFLED)}
    for row in shuffled.values():
        low, high = row["auc"]["low"], row["auc"]["high"]
        row["holds"] = low <= HALF <= high
    return {
        "users": int(test["user"].nunique()),
        "models": {model: row for model, row in figures.items() if model not in shuffled},
        "shuffled_labels": shuffled,
    }


def _of_model(rows: pd.DataFrame, settings: EvaluationSettings) -> dict[str, Any]:
    figures: dict[str, Any] = {"splits": int(rows["split"].nunique()), "seeds": int(rows["seed"].nunique())}
    for name in MEASURES:
        values = _measure(rows, name)
        figures[name] = None if values is None else _interval(_user_means(values), settings)
    if "recall_at_10" in rows:
        figures["recall_at_10"] = mean(_user_means(_by_split(rows, "recall_at_10")).to_numpy())
    cells = rows.groupby(["split", "seed"])["auc"].mean().unstack()  # [splits, seeds]
    between = cells.mean(axis=1)
    figures["sd_between_splits"] = float(between.std(ddof=1)) if len(between) > 1 else None
    within = cells.var(axis=1, ddof=1).mean() if cells.shape[1] > 1 else np.nan
    figures["sd_between_seeds"] = float(np.sqrt(within)) if np.isfinite(within) else None
    figures["cells"] = rows.groupby(["split", "seed"])["auc"].mean().reset_index().to_dict("records")
    return figures


def _measure(rows: pd.DataFrame, name: str) -> pd.Series | None:
    """Return one measure by (split, user), or None if the cells do not have it."""
    column, which = MEASURES[name]
    if column not in rows:
        return None
    if which != "all":
        rows = rows[rows["cold"] == (which == "cold")]
    values = _by_split(rows, column)
    return values if len(values) else None


def _by_split(rows: pd.DataFrame, column: str) -> pd.Series:
    """Average over seeds, by (split, user); users without a value are left out."""
    return rows.groupby(["split", "user"])[column].mean().dropna().astype(np.float64)


def _user_means(by_split: pd.Series) -> pd.Series:
    return by_split.groupby("user").mean()


def _interval(values: pd.Series, settings: EvaluationSettings) -> dict[str, float | int]:
    low, high = bootstrap_mean(values.to_numpy(), settings.seed, settings.resamples)
    return {"mean": mean(values.to_numpy()), "low": low, "high": high, "users": len(values)}


def _differences(rows: pd.DataFrame, reference: pd.DataFrame, settings: EvaluationSettings) -> dict[str, Any]:
    differences: dict[str, Any] = {}
    for name in MEASURES:
        ours, theirs = _measure(rows, name), _measure(reference, name)
        differences[name] = None
        if ours is not None and theirs is not None:
            by_split = (ours - theirs).dropna()  # aligned by (split, user): only those that both have
            if len(by_split):
                of_splits = by_split.groupby("split").mean()
                ranges = {"lowest_split": float(of_splits.min()), "highest_split": float(of_splits.max())}
                differences[name] = {**_interval(_user_means(by_split), settings), "splits": len(of_splits), **ranges}
    return differences


def to_markdown(figures: Mapping[str, Any]) -> str:
    """Format the report as a Markdown page."""
    lines = [f"# Study {figures['study']}", "", figures["protocol"], ""]
    for mode, mode_figures in figures["modes"].items():
        table = _table(mode_figures["models"], figures["reference"])
        lines += [f"## {mode}: {mode_figures['users']:,} users, test", "", *table, ""]
        for model, row in mode_figures["shuffled_labels"].items():
            result = "a half, as it must be" if row["holds"] else "NOT a half: something leaks (or chance, 1 in 20)"
            lines += [f"Shuffled labels, {model.removesuffix(SHUFFLED)}: {_shown(row['auc'])}, {result}.", ""]
    lines += ["![AUC of all models](report.png)", ""]
    lines += [f"Code: {'; '.join(figures['code'])}. Device: {', '.join(figures['devices'])}. "
              f"{figures['seconds']:.0f} s of cells. Bootstrap: {figures['bootstrap']}."]  # fmt: skip
    return "\n".join(lines) + "\n"


def _table(models: Mapping[str, Any], reference: str) -> list[str]:
    head = ("model", "splits x seeds", "AUC (95%)", "validation", "warm", "cold", "within type")
    head += (f"minus {reference} (95%)", "cold minus", "within type minus", "sd splits", "sd seeds", "s a cell")
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for model, row in sorted(models.items(), key=lambda pair: -pair[1]["auc"]["mean"]):
        difference = row.get("difference", {})
        cells = [
            f"{row['splits']} x {row['seeds']}",
            _shown(row["auc"]),
            f"{row['validation_auc']:.3f}",
            *(_shown(row[name]) for name in ("warm", "cold", "within_type")),
            *(_shown(difference.get(name), signed=True) for name in ("auc", "cold", "within_type")),
            *("" if row[name] is None else f"{row[name]:.4f}" for name in ("sd_between_splits", "sd_between_seeds")),
            f"{row['cell_seconds']:.1f}" if "cell_seconds" in row else "",
        ]
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return lines


def _shown(interval: Mapping[str, float] | None, signed: bool = False) -> str:
    if interval is None:
        return ""
    if signed:
        return f"{interval['mean']:+.4f} ({interval['low']:+.3f} to {interval['high']:+.3f})"
    return f"{interval['mean']:.4f} ({interval['low']:.3f}-{interval['high']:.3f})"


def _chart_rows(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"mode": mode, "model": model, "split": "test",
         "auc": row["auc"]["mean"], "auc_low": row["auc"]["low"], "auc_high": row["auc"]["high"]}
        for mode, mode_figures in figures["modes"].items()
        for model, row in mode_figures["models"].items()
    ]  # fmt: skip
