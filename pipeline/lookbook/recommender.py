"""The section about recommenders: all models of all modes with intervals, the paper's Table 3, training curves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from models.training.deciding import TITLES, name_of
from pipeline.core.schemas import IMAGE_MODES
from pipeline.lookbook import charts, groups, visual_map
from pipeline.lookbook.album import Album
from pipeline.lookbook.page import LeftOut, Section
from pipeline.recommenders import registry
from pipeline.recommenders.contract import PartWeight
from pipeline.views import paper, plots
from pipeline.views.comparison import best_first
from pipeline.views.home_contents import Home
from pipeline.views.words import MODES

TITLE = "How well taste is predicted"
BESIDE = {  # figures shown in addition to the AUC
    "warm_auc": "AUC, warm",
    "cold_auc": "AUC, cold",
    "auc_category": "AUC, own type",
    "recall_at_10": "Recall at 10",
    "recall_at_50": "Recall at 50",
    "hit_at_10": "Hit rate at 10",
    "hit_at_50": "Hit rate at 50",
    "ndcg_at_10": "NDCG at 10",
    "ndcg_at_50": "NDCG at 50",
    "ndcg_at_100": "NDCG at 100",
    "map_at_10": "MAP at 10",
    "map_at_12": "MAP at 12",
    "map_at_50": "MAP at 50",
    "mrr": "MRR",
    "coverage_at_10": "Coverage",
    "novelty_at_10": "Novelty, bits",
    "gini_at_10": "Gini",
}
PREFERRED_MODE = "vendor_all"
SETTINGS = {  # settings in which a run may differ from the paper's
    "k": "latent factors",
    "epochs": "epochs at most",
    "input_size": "pixels a side",
    "width": "width of the convolutions",
    "hidden": "width of the hidden layers",
    "learning_rate": "learning rate",
    "padding": "padding of the first convolution",
}


@dataclass(frozen=True)
class ModelRow:
    """The AUC and NDCG@100 of a model of a mode on the test items."""

    name: str
    words: str
    reference: bool  # whether it is the mode's own recommender, which the others are compared with
    auc: float
    low: float
    high: float
    span: charts.IntervalBar
    difference: tuple[float, float, float] | None  # paired difference to the reference: mean, low, high
    validation: float | None
    warm_among_seen: float | None
    cold_among_unseen: float | None
    ndcg: tuple[float, float, float] | None  # mean, low, high
    ndcg_difference: tuple[float, float, float] | None


@dataclass(frozen=True)
class ModeTable:
    """All models of a mode, best first."""

    mode: str
    words: str
    users: int
    chance: float  # position of 0.5 on the scale
    sorted_by: str
    rows: list[ModelRow]


@dataclass(frozen=True)
class Beside:
    """Further figures of a mode's models, in the order of its `ModeTable`."""

    mode: str
    words: str
    rows: list[tuple[str, bool, list[float | None]]]  # name, whether it is the reference, the figures of BESIDE


@dataclass(frozen=True)
class GoesBy:
    """What the customers of a mode go by: the parts of a model's score by weight, on one scale."""

    model: str
    asset: str
    none: float  # position of 0 on the scale
    rows: list[tuple[PartWeight, charts.IntervalBar]]


@dataclass(frozen=True)
class PaperRow:
    """A row of Table 3: the paper's figure, and ours on validation and on test."""

    mode: str
    words: str
    paper: float | None  # None for a mode that the paper does not have
    validation: tuple[float, float, float] | None
    test: tuple[float, float, float] | None


def mode_tables(rows: Sequence[dict[str, Any]]) -> list[ModeTable]:
    """Group rows of RECOMMENDER_COMPARISON by mode, with all intervals on one scale."""
    common = charts.scale([0.5, *(row[end] for row in rows for end in ("auc_low", "auc_high"))])
    validation = {(row["mode"], row["model"]): row["auc"] for row in rows if row["split"] == "validation"}
    tables = []
    for mode in IMAGE_MODES:
        chosen = [row for row in rows if row["mode"] == mode and row["split"] == "test"]
        if not chosen:
            continue
        own = registry.leading(row["model"] for row in chosen)
        by = deciding(rows, mode)
        model_rows = [
            ModelRow(
                registry.title(row["model"]),
                registry.hint(row["model"]),
                row["model"] == own,
                row["auc"],
                row["auc_low"],
                row["auc_high"],
                common.span(row["auc_low"], row["auc"], row["auc_high"]),
                _triple(row, "difference_to_main", "difference_low", "difference_high"),
                validation.get((mode, row["model"])),
                row.get("warm_among_seen"),
                row.get("cold_among_unseen"),
                _triple(row, "ndcg_at_100", "ndcg_at_100_low", "ndcg_at_100_high"),
                _triple(row, *(f"ndcg_at_100_difference{end}" for end in ("", "_low", "_high"))),
            )
            for row in sorted(chosen, key=lambda row: -row[by])
        ]
        people = max(row["users"] for row in chosen)
        tables.append(ModeTable(mode, MODES[mode], people, common.place(0.5), TITLES[by], model_rows))
    return tables


def deciding(rows: Sequence[dict[str, Any]], mode: str) -> str:
    """Return the figure by which the models of a mode are chosen; an older comparison does not count its pairs."""
    validation = [row for row in rows if row["mode"] == mode and row["split"] == "validation"]
    return name_of(max((row.get("held_out") or 0 for row in validation), default=0))


def beside(home: Home) -> list[Beside]:
    """Collect the further figures of every mode on test; None for figures that an older evaluation does not have."""
    tables = []
    for mode in IMAGE_MODES:
        figures: dict[str, Any] = home.metadata("recommender_evaluation", mode).get("figures", {})
        rows = [
            (registry.title(name), name == registry.leading(figures), [of_test.get(key) for key in BESIDE])
            for name, of_test in best_first(figures)
        ]
        if rows:
            tables.append(Beside(mode, MODES[mode], rows))
    return tables


def ahead(tables: Sequence[ModeTable]) -> list[tuple[str, list[str]]]:
    """List, by mode, the models that are better than the recommender by their whole paired interval.

    The planted truth is not counted as a model.
    """
    truth = registry.oracle().title
    better = [
        (t.words, [r.name for r in t.rows if r.difference and r.difference[1] > 0 and r.name != truth]) for t in tables
    ]
    return [(words, names) for words, names in better if names]


def published(rows: Sequence[dict[str, Any]]) -> list[str]:
    """List the titles of the paper's recommenders that were trained here; Table 3 is of no other."""
    here = {row["model"] for row in rows}
    return [one.title for name, one in registry.RECOMMENDERS.items() if one.published and name in here]


def table_3(rows: Sequence[dict[str, Any]]) -> list[PaperRow]:
    """Make the paper's Table 3 with our figures."""
    of_paper = {name for name, one in registry.RECOMMENDERS.items() if one.published}
    ours = {
        (row["mode"], row["split"]): _triple(row, "auc", "auc_low", "auc_high")
        for row in rows
        if row["model"] in of_paper
    }
    return [
        PaperRow(mode, MODES[mode], paper.TABLE_3.get(mode), ours.get((mode, "validation")), ours.get((mode, "test")))
        for mode in IMAGE_MODES
    ]


def goes_by(home: Home, mode: str) -> GoesBy | None:
    """List the weights of the parts of a mode's first recommender whose score has parts; None if there is none."""
    for folder in home.recommenders(mode).values():
        manifest = folder.manifest()
        recommender = registry.of_manifest(manifest)
        weights = recommender.part_weights(manifest)
        if weights:
            common = charts.scale([0.0, *(end for part in weights for end in part.ends)])
            rows = [(part, common.span(part.ends[0], part.weight, part.ends[1])) for part in weights]
            return GoesBy(recommender.title, home.training_asset(folder, mode), common.place(0.0), rows)
    return None


def training_curves(home: Home) -> tuple[list[charts.Chart], list[tuple[str, str]]]:
    """Draw loss and validation AUC by epoch for each mode's models, and list the leading settings of the last mode."""
    drawn, settings = [], {}
    found = [(mode, *one) for mode in IMAGE_MODES for one in enumerate(home.recommenders(mode).values())]
    for mode, number, folder in found:
        manifest = folder.manifest()
        history = [entry for entry in manifest["history"] if entry.get("validation_auc") is not None]
        settings = settings if number else manifest.get("settings", {})
        if history:
            first, last = history[0], history[-1]
            summary = (
                f"Validation AUC from {first['validation_auc']:.3f} at epoch {first['epoch']} to "
                f"{last['validation_auc']:.3f} at epoch {last['epoch']}"
            )
            svg = plots.training_curve(history, registry.of_manifest(manifest).title, mode, form=plots.svg)
            title = registry.of_manifest(manifest).title
            drawn.append(charts.Chart(f"{title}, {MODES[mode]}", summary, svg, home.training_asset(folder, mode), mode))
    return drawn, [(words, f"{settings[name]}") for name, words in SETTINGS.items() if name in settings]


def grouped(home: Home, mode: str, others: Sequence[str]) -> list[charts.Chart]:
    """Draw the test AUC by how much people bought, and by how often others bought their hidden items in training.

    Args:
        home: the home to show.
        mode: the image mode.
        others: models to draw beside the mode's own recommender, which comes first.
    """
    evaluation, splits = home.table("recommender_evaluation", mode), home.table("splits", mode)
    if evaluation is None or splits is None:
        return []
    drawn = []
    for by in (groups.by_activity, groups.by_popularity):
        grouping = by(evaluation, splits, [*(one.name for one in registry.main()), *others])
        if grouping is None:
            continue
        series = {registry.title(name): values for name, values in grouping.series.items()}
        parts = [f"{label}: {values[0]:.3f}" for label, values in zip(grouping.labels, grouping.own, strict=True)]
        labels = [f"{label}\n{count:,}" for label, count in zip(grouping.labels, grouping.people, strict=True)]
        svg = plots.by_group(labels, series, grouping.title, f"{grouping.of}; below, number of people", form=plots.svg)
        summary = f"AUC of {next(iter(series))} by {grouping.of}: {', '.join(parts)}"
        drawn.append(charts.Chart(grouping.title, summary, svg, "recommender_evaluation", mode))
    return drawn


def section(home: Home, album: Album) -> Section | LeftOut:
    """Build the section."""
    compared = home.table("recommender_comparison")
    if compared is None or not compared.num_rows:
        return LeftOut(TITLE, "no recommender was compared: materialise recommender_comparison (it needs reviews)")
    rows = compared.to_pylist()
    curves, settings = training_curves(home)
    planted = {row["mode"]: row["auc"] for row in rows if registry.is_oracle(row["model"]) and row["split"] == "test"}
    tables = mode_tables(rows)
    shown = next((t.mode for t in tables if t.mode == PREFERRED_MODE), tables[0].mode if tables else None)
    beside_main = [name for name, one in registry.RECOMMENDERS.items() if one.in_group_charts]
    content = {
        "shown": shown,
        "shown_words": MODES.get(shown or "", ""),
        "trained_by": home.recommender_asset(shown) if shown else "",
        "groups": grouped(home, shown, beside_main) if shown else [],
        "map": visual_map.draw(home, shown, album) if shown else None,
        "tables": tables,
        "protocols": {t.mode: home.metadata("splits", t.mode).get("protocol", "") for t in tables},
        "own": shown_name(row["model"] for row in rows),
        "ahead": ahead(tables),
        "goes_by": goes_by(home, shown) if shown else None,
        "beside": beside(home),
        "beside_heads": list(BESIDE.values()),
        "leaky": [MODES[m] for m in IMAGE_MODES if home.metadata("splits", m).get("split_unit") == "image"],
        "table_3": table_3(rows),
        "table_3_of": " and ".join(published(rows)),
        "original": paper.TABLE_3[paper.ORIGINAL],
        "curves": curves,
        "settings": settings,
        "planted": planted,
        "between_modes": home.metadata("recommender_comparison").get("between_modes") or [],
    }
    wanted = [("recommender_comparison", None)]
    wanted += [
        (name, mode)
        for mode in IMAGE_MODES
        for name in (
            *(one.op for one in registry.main()),
            "baselines",
            "recommender_evaluation",
            "recommender_champion",
        )
    ]
    return Section("recommender", TITLE, "Prediction", content, home.sources(wanted))


def shown_name(models: Iterable[str]) -> str:
    """Return the title of the recommender among these models."""
    return registry.title(registry.leading(models))


def _triple(row: dict[str, Any], *names: str) -> tuple[float, float, float] | None:
    first, second, third = (row.get(name) for name in names)  # an older comparison may lack them
    return None if first is None or second is None or third is None else (first, second, third)
