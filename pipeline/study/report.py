"""Report a study: report.md, report.json and charts over all its finished cells.

Only this module reads a study's test figures. Nothing here may train or choose a model.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core import parquet as pq
from pipeline.core.dataset.split_facts import protocol_line
from pipeline.core.dataset.splits import HOLD_OUTS
from pipeline.core.durable import write_whole
from pipeline.core.errors import InputError
from pipeline.core.schemas import IMAGE_MODES
from pipeline.home.storage import MANIFEST, write_json
from pipeline.settings.assets import EvaluationSettings
from pipeline.study import ablations, ageing, figures, tables
from pipeline.study.measures import MEASURES
from pipeline.study.one_cell import PER_USER, SKIPPED
from pipeline.study.weeks import VALIDATION_WEEKS, WEEKS
from pipeline.views import plots, sheets, study_charts

MEASUREMENT = """\
A user's held-out items are ranked among all items that the user never touched; ties count a half. Each user's \
values are averaged over seeds, then over splits. Figures are means over users. Intervals are 95% bootstrap \
intervals over users: they show how much another sample of users would change a figure. How much another split or \
seed would change the AUC is shown by standard deviations. Warm items are those that somebody buys in train, cold \
items those that nobody does. Warm among seen ranks warm items among such items only, cold among unseen likewise, so \
that a constant for unseen items moves neither. Within type: among the items of the held-out item's product type. \
Coverage, novelty (in bits) and Gini are of the ten best. A difference is paired: the same users, on the splits that \
both models have. Every choice was made on validation; only this report reads test.\
"""
PARTS = (
    tables.ranking, tables.lists, tables.against_reference, tables.ablation, tables.runs, tables.skipped,
    tables.shuffled,
)  # fmt: skip
CELLS = "*/*/split-*/seed-*/*/"


@dataclass(frozen=True)
class WrittenReport:
    """A written report."""

    path: Path
    markdown: str
    figures: dict[str, Any]


def write(root: Path, reference: str, settings: EvaluationSettings, sort: str = "") -> WrittenReport:
    """Write a study's report from its finished cells.

    Args:
        root: the study's folder.
        reference: the model that the others are compared with.
        settings: seed and number of bootstrap draws.
        sort: the metric that orders the tables; empty: the one that decides for the number of held-out pairs.

    Raises:
        InputError: no cell is finished, or none of the reference.
    """
    manifests, rows = _read(root)
    models = list(dict.fromkeys(manifest["model"] for manifest in manifests))
    if reference not in models:
        raise InputError(
            f"{root}: no finished cell of the reference {reference}; there are: {', '.join(sorted(models))}."
        )
    skipped, named = _skipped(root), {model: ablations.variants(model) for model in models}
    protocols: dict[str, dict[str, Any]] = {}
    weeks: dict[str, Any] = {}
    for protocol in (*HOLD_OUTS, WEEKS):
        for mode in IMAGE_MODES:
            cells = rows[(rows["protocol"] == protocol) & (rows["mode"] == mode)]
            own = [m for m in manifests if (m["protocol"], m["image_mode"]) == (protocol, mode)]
            if not own:
                continue
            if protocol == WEEKS:
                found = weeks[mode] = ageing.of_mode(cells, own, settings)
            else:
                found = figures.of_mode(cells, reference, settings, named)
                figures.with_manifests(found, own)
                protocols.setdefault(protocol, {})[mode] = found
                found |= {"reference": reference, "facts": own[0]["split_facts"]}
            found["sort"] = sort or found["sort"]
            found["skipped"] = [one for one in skipped if (one["protocol"], one["image_mode"]) == (protocol, mode)]
    whole = {
        "study": root.name,
        "measurement": MEASUREMENT,
        "reference": reference,
        "code": sorted({manifest["code"] for manifest in manifests}),
        "devices": sorted({manifest["device"] for manifest in manifests}),
        "seconds": round(sum(manifest["seconds"] for manifest in manifests), 1),
        "bootstrap": {"seed": settings.seed, "resamples": settings.resamples},
        "protocols": protocols,
        "weeks": weeks,
    }
    write_json(root / "report.json", whole)
    whole = json.loads((root / "report.json").read_text())  # keys of cuts and ages are text, as for every reader
    markdown = to_markdown(whole)
    write_whole(root / "report.md", lambda temporary: temporary.write_text(markdown))
    for protocol, by_mode in whole["protocols"].items():
        sheets.save(root / _chart(protocol), plots.comparison(_chart_rows(by_mode), "test"))
    for mode, found in whole["weeks"].items():
        sheets.save(root / _chart(f"{WEEKS}-{mode}"), study_charts.by_week(found, MEASURES[found["sort"]].title))
    return WrittenReport(root / "report.md", markdown, whole)


def _read(root: Path) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    manifests, parts = [], []
    for path in sorted(root.glob(CELLS + MANIFEST)):
        manifest = json.loads(path.read_text())
        keys = {"protocol": manifest["protocol"], "mode": manifest["image_mode"], "model": manifest["model"]}
        keys |= {"split": manifest["split"], "seed": manifest["seed"]}
        manifests.append(manifest)
        parts.append(pq.read_table(path.with_name(PER_USER)).to_pandas().assign(**keys))
    if not parts:
        raise InputError(f"{root}: no cell of this study is finished, so there is nothing to report.")
    return manifests, pd.concat(parts, ignore_index=True)


def _skipped(root: Path) -> list[dict[str, Any]]:
    """Read why models were skipped, once for each protocol and mode in which none of their cells is finished."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for path in sorted(root.glob(CELLS + SKIPPED)):
        one = json.loads(path.read_text())
        found.setdefault(tuple(one[name] for name in ("protocol", "image_mode", "model", "reason")), one)
    return list(found.values())


def to_markdown(whole: Mapping[str, Any]) -> str:
    """Format the report as a Markdown page."""
    lines = [f"# Study {whole['study']}", "", whole["measurement"], ""]
    for protocol in (name for name in HOLD_OUTS if name in whole["protocols"]):
        for mode, found in whole["protocols"][protocol].items():
            lines += [f"## {protocol}, {mode}: {found['users']:,} users, {found['pairs']:,} held-out pairs, test", ""]
            lines += [f"{protocol_line(found['facts'])}{_of_split(found)}", ""]
            for part in PARTS:
                made = part(found)
                lines += [*made, ""] if made else []
        lines += [f"![AUC of all models, {protocol}]({_chart(protocol)})", ""]
    for mode, found in whole["weeks"].items():
        lines += [f"## Week by week, {mode}", ""]
        before = f"the {VALIDATION_WEEKS} weeks before it are validation, and what is before them is train"
        lines += [f"Measured on each week; {before}:", ""]
        lines += [*tables.quality_by_week(found), ""]
        lines += ["Measured on later weeks, minus a model trained up to the same week, with the same users and items"
                  " (the first column is the value itself):", "", *tables.ageing(found), ""]  # fmt: skip
        lines += [*tables.skipped(found), f"![Quality by week, {mode}]({_chart(f'{WEEKS}-{mode}')})", ""]
    lines += [f"Code: {'; '.join(whole['code'])}. Device: {', '.join(whole['devices'])}. "
              f"{whole['seconds']:.0f} s of cells. Bootstrap: {whole['bootstrap']}."]  # fmt: skip
    return "\n".join(lines) + "\n"


def _of_split(found: Mapping[str, Any]) -> str:
    """Name the split that the facts are of, if there are several."""
    return (
        " (Split 0; the others differ a little.)" if any(row["splits"] > 1 for row in found["models"].values()) else ""
    )


def _chart(name: str) -> str:
    return f"report-{name}.png"


def _chart_rows(by_mode: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"mode": mode, "model": model, "split": "test",
         "auc": row["auc"]["mean"], "auc_low": row["auc"]["low"], "auc_high": row["auc"]["high"]}
        for mode, found in by_mode.items()
        for model, row in found["models"].items()
    ]  # fmt: skip
