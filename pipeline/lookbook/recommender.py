"""The recommender's section: every model of every mode with its interval, Table 3 beside ours, the training curves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.recommender_names import DVBPR, MODERN, name_of
from pipeline.core.schemas import IMAGE_MODES
from pipeline.home.contents import Home
from pipeline.lookbook import charts, groups, visual_map
from pipeline.lookbook.album import Album
from pipeline.lookbook.data import MODES
from pipeline.lookbook.page import LeftOut, Section
from pipeline.views import paper, plots

TITLE = "How well taste is predicted"
PLANTED = "planted_best"
MODELS = {
    DVBPR: ("DVBPR", "the method: a network trained on the pictures"),
    MODERN: ("Modern", "a taste read off the pictures of the history"),
    "vbpr": ("VBPR", "ImageNet features and learnt taste"),
    "vbpr_visual": ("VBPR, looks alone", "the same without what belongs to an item's id"),
    "bpr_mf": ("BPR-MF", "learnt taste, no pictures"),
    "visual_neighbours": ("Visual neighbours", "looks like what the user has"),
    "visual_neighbours_best": ("Best neighbour", "looks like one thing that the user has"),
    "popularity": ("Popularity", "the same list for all"),
    "picture_count": ("Picture count", "items with more pictures first"),
    "random": ("Random", "a coin"),
    PLANTED: ("Planted tastes", "the truth the shoppers were drawn with"),
}
BESIDE = {  # figures of a model that stand beside its AUC
    "warm_auc": "AUC, warm",
    "cold_auc": "AUC, cold",
    "auc_category": "AUC, own type",
    "recall_at_10": "Hit rate at 10",
    "recall_at_50": "Hit rate at 50",
    "ndcg_at_10": "NDCG at 10",
    "ndcg_at_50": "NDCG at 50",
    "mrr": "MRR",
    "coverage_at_10": "Coverage",
    "novelty_at_10": "Novelty, bits",
    "gini_at_10": "Gini",
}
OWN = (DVBPR, MODERN)  # what a mode's own recommender may be
BESIDE_MODELS = ("vbpr", "popularity")  # in the charts by group
PREFERRED_MODE = "vendor_all"
SETTINGS = {  # what a reader needs to tell this run from the paper's
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
    """A model of a mode on the test items."""

    name: str
    words: str
    reference: bool  # the mode's own recommender, which the others are held against
    auc: float
    low: float
    high: float
    span: charts.Span
    difference: tuple[float, float, float] | None  # paired, to DVBPR: mean, low, high
    validation: float | None


@dataclass(frozen=True)
class ModeTable:
    """All models of a mode, best first."""

    mode: str
    words: str
    users: int
    chance: float  # where 0.5 lies on the scale
    rows: list[ModelRow]


@dataclass(frozen=True)
class Beside:
    """What stands beside the AUC of a mode's models, in the order of its table."""

    mode: str
    words: str
    rows: list[tuple[str, bool, list[float | None]]]  # name, whether it is DVBPR, the figures of BESIDE


@dataclass(frozen=True)
class Published:
    """A row of Table 3: the paper's figure, ours on validation and on test."""

    mode: str
    words: str
    paper: float | None  # None: a mode of our own
    validation: tuple[float, float, float] | None
    test: tuple[float, float, float] | None


def mode_tables(rows: Sequence[dict[str, Any]]) -> list[ModeTable]:
    """Rows of RECOMMENDER_COMPARISON by mode, intervals on one scale."""
    common = charts.scale([0.5, *(row[end] for row in rows for end in ("auc_low", "auc_high"))])
    validation = {(row["mode"], row["model"]): row["auc"] for row in rows if row["split"] == "validation"}
    tables = []
    for mode in IMAGE_MODES:
        chosen = [row for row in rows if row["mode"] == mode and row["split"] == "test"]
        if not chosen:
            continue
        own = name_of(row["model"] for row in chosen)
        made = [
            ModelRow(
                *MODELS.get(row["model"], (row["model"], "")),
                row["model"] == own,
                row["auc"],
                row["auc_low"],
                row["auc_high"],
                common.span(row["auc_low"], row["auc"], row["auc_high"]),
                _triple(row, "difference_to_dvbpr", "difference_low", "difference_high"),
                validation.get((mode, row["model"])),
            )
            for row in sorted(chosen, key=lambda row: -row["auc"])
        ]
        tables.append(ModeTable(mode, MODES[mode], max(row["users"] for row in chosen), common.place(0.5), made))
    return tables


def beside(home: Home) -> list[Beside]:
    """The further figures of every mode, on test; of homes evaluated before a figure was known, a dash."""
    found = []
    for mode in IMAGE_MODES:
        figures: dict[str, Any] = home.metadata("recommender_evaluation", mode).get("figures", {})
        models = sorted(figures.items(), key=lambda pair: -pair[1]["test"]["auc"])
        rows = [
            (MODELS.get(name, (name, ""))[0], name == name_of(figures), [splits["test"].get(key) for key in BESIDE])
            for name, splits in models
        ]
        if rows:
            found.append(Beside(mode, MODES[mode], rows))
    return found


def ahead(tables: Sequence[ModeTable]) -> list[tuple[str, list[str]]]:
    """What fell short: by mode, the models whose paired interval lies above the recommender's; the truth is none."""
    truth = MODELS[PLANTED][0]
    found = [
        (t.words, [r.name for r in t.rows if r.difference and r.difference[1] > 0 and r.name != truth]) for t in tables
    ]
    return [(words, names) for words, names in found if names]


def table_3(rows: Sequence[dict[str, Any]]) -> list[Published]:
    """The paper's Table 3 with our rows."""
    ours = {
        (row["mode"], row["split"]): _triple(row, "auc", "auc_low", "auc_high") for row in rows if row["model"] == DVBPR
    }
    return [
        Published(mode, MODES[mode], paper.TABLE_3.get(mode), ours.get((mode, "validation")), ours.get((mode, "test")))
        for mode in IMAGE_MODES
    ]


def training_curves(home: Home) -> tuple[list[charts.Chart], list[tuple[str, str]]]:
    """Loss and validation AUC by epoch of each mode's model, and the settings they share."""
    drawn, settings = [], {}
    for mode in IMAGE_MODES:
        folder = home.model("recommender", mode)
        if folder is None:
            continue
        manifest = folder.manifest()
        history = [entry for entry in manifest["history"] if entry.get("validation_auc") is not None]
        settings = manifest.get("settings", {})
        if history:
            first, last = history[0], history[-1]
            summary = (
                f"Validation AUC from {first['validation_auc']:.3f} at epoch {first['epoch']} to "
                f"{last['validation_auc']:.3f} at epoch {last['epoch']}"
            )
            svg = plots.training_curve(history, mode, form=plots.svg)
            drawn.append(charts.Chart(MODES[mode], summary, svg, "dvbpr", mode))
    return drawn, [(words, f"{settings[name]}") for name, words in SETTINGS.items() if name in settings]


def grouped(home: Home, mode: str, others: Sequence[str]) -> list[charts.Chart]:
    """AUC on test by how much people bought, and by how often their hidden item was bought by others in training.

    Args:
        home: what is shown.
        mode: the image mode.
        others: models drawn beside the mode's own, which comes first.
    """
    evaluation, splits = home.table("recommender_evaluation", mode), home.table("splits", mode)
    if evaluation is None or splits is None:
        return []
    made = []
    for by in (groups.by_activity, groups.by_popularity):
        found = by(evaluation, splits, [*OWN, *others])
        if found is None:
            continue
        series = {MODELS.get(name, (name, ""))[0]: values for name, values in found.series.items()}
        parts = [f"{label}: {values[0]:.3f}" for label, values in zip(found.labels, found.own, strict=True)]
        labels = [f"{label}\n{count:,}" for label, count in zip(found.labels, found.people, strict=True)]
        svg = plots.by_group(labels, series, found.title, f"{found.of}; below, how many people", form=plots.svg)
        summary = f"AUC of {next(iter(series))} by {found.of}: {', '.join(parts)}"
        made.append(charts.Chart(found.title, summary, svg, "recommender_evaluation", mode))
    return made


def section(home: Home, album: Album) -> Section | LeftOut:
    """The section."""
    compared = home.table("recommender_comparison")
    if compared is None or not compared.num_rows:
        return LeftOut(TITLE, "no recommender was compared: materialise recommender_comparison (it needs reviews)")
    rows = compared.to_pylist()
    curves, settings = training_curves(home)
    planted = {row["mode"]: row["auc"] for row in rows if row["model"] == PLANTED and row["split"] == "test"}
    tables = mode_tables(rows)
    shown = next((t.mode for t in tables if t.mode == PREFERRED_MODE), tables[0].mode if tables else None)
    content = {
        "shown": shown,
        "shown_words": MODES.get(shown or "", ""),
        "groups": grouped(home, shown, BESIDE_MODELS) if shown else [],
        "map": visual_map.draw(home, shown, album) if shown else None,
        "tables": tables,
        "own": shown_name(row["model"] for row in rows),
        "ahead": ahead(tables),
        "beside": beside(home),
        "beside_heads": list(BESIDE.values()),
        "leaky": [MODES[m] for m in IMAGE_MODES if home.metadata("splits", m).get("split_unit") == "image"],
        "table_3": table_3(rows),
        "original": paper.TABLE_3[paper.ORIGINAL],
        "curves": curves,
        "settings": settings,
        "planted": planted,
        "between_modes": home.metadata("recommender_comparison").get("between_modes") or [],
    }
    wanted = [("recommender_comparison", None)]
    wanted += [(name, mode) for mode in IMAGE_MODES for name in ("dvbpr", "baselines", "recommender_evaluation")]
    return Section("recommender", TITLE, "Prediction", content, home.sources(wanted))


def shown_name(models: Iterable[str]) -> str:
    """The recommender among these models, as a page names it."""
    return MODELS[name_of(models)][0]


def _triple(row: dict[str, Any], *names: str) -> tuple[float, float, float] | None:
    first, second, third = (row[name] for name in names)
    return None if first is None else (first, second, third)
