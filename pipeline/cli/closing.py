"""The last lines of `run`: the main figures of summary.json. Nothing is computed here."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from models.training.deciding import TITLES
from pipeline.recommenders.registry import floor, leading, title
from pipeline.views import loss as losses
from pipeline.views.comparison import AUCS, LISTS, best_first, in_short, sorted_by
from pipeline.views.words import other_data

GENERATOR = (
    "judge_agreement", "judge_kernel", "pixel_kernel", "pixel_recall", "pixel_precision", "memorisation_ratio_l1",
    "memorisation_ratio_judge", "diversity_ssim",
)  # fmt: skip
LIST_COLUMNS = 7  # in one table: with the names of the models, they fit into 80 characters


def tables(mode: str, found: dict[str, Any]) -> list[Table | str]:
    """Make the tables of a mode's models, best first: what was tested, their AUCs, the figures of their first ranks."""
    lists = list(LISTS.items())
    title = f"{mode}: {found['users']:,} users, {found['items']:,} items, {found['item_images']:,} pictures (test)"
    return [
        f"[bold]{escape(title)}; best {TITLES[sorted_by(found['models'])]} first[/]",
        escape(found.get("protocol", "")),
        _table({"auc": "AUC", "auc_ci95": "95%", **AUCS}, found["models"]),
        *(_table(dict(lists[at : at + LIST_COLUMNS]), found["models"]) for at in range(0, len(lists), LIST_COLUMNS)),
    ]


def _served(mode: str, champion: dict[str, Any]) -> Iterator[str]:
    """Yield whose lists are served, and how they compare with the most popular items."""
    if served := champion.get("recommender"):
        mark = "[yellow]![/] " if served == floor().name else ""
        beaten = ": no model that learns taste beats it (the lookbook says what would help)" if mark else ""
        yield f"{mark}{mode}: the lists are by {escape(title(served))}{beaten}"
    if against := champion.get("against_popularity"):
        yield f"  {escape(against)}"


def _table(columns: dict[str, str], models: dict[str, Any]) -> Table:
    shown = Table(padding=(0, 0), pad_edge=False)
    shown.add_column("model", no_wrap=True)
    for column in columns.values():
        shown.add_column(column, justify="right", no_wrap=True)
    own = leading(models)
    for model, figures in best_first(models):
        low, high = figures["auc_ci95"]
        cells = [f"{low:.3f}-{high:.3f}" if name == "auc_ci95" else in_short(figures, [name])[0] for name in columns]
        shown.add_row(model, *cells, style="bold" if model == own else None)
    return shown


def lines(summary: dict[str, Any]) -> Iterator[str]:
    """Yield the other main figures, the extent of the data first, as rich markup."""
    if extent := summary["data"].get("extent"):
        yield f"[bold]{escape(extent)}[/]"
    for doubt in summary["data"].get("doubts", ()):
        yield f"[yellow]![/] {escape(doubt)}"
    if rejected := summary["data"].get("rejected_lines"):
        yield (
            f"[yellow]![/] {rejected:,} raw lines could not be used, each with its reason in the table rejects"
            " (atelier inspect shows the commonest)"
        )
    classes = summary["data"].get("garment_classes") or {}
    if classes.get("none") and classes["none"] == sum(classes.values()):
        yield (
            "[yellow]![/] no product is in a garment class, so there is no generator; the built-in words are English:"
            " name your own (ATELIER_CLASSES, docs/configuration.md)"
        )
    for mode, found in summary["modes"].items():
        if found.get("extent", "") != summary["data"].get("extent", ""):
            yield f"[yellow]![/] {escape(other_data(mode, found.get('extent', '')))}"
        yield from _served(mode, found.get("champion", {}))
        if loss := found.get("loss"):
            mark = "[yellow]![/] " if losses.is_large(loss) else ""
            yield mark + escape(losses.line(mode, loss))
    generator, designs = summary.get("generator"), summary.get("designs")
    if generator:
        figures = [
            f"{name} {generator[name]:.3f} (real pictures {generator[f'real_{name}']:.3f})"
            for name in GENERATOR
            if name in generator
        ]
        yield f"generator: {generator['epochs']} epochs; {', '.join(figures) or 'not judged'}"
        for note in generator.get("notes", ()):
            yield f"[yellow]![/] generator: {escape(note)}"
    if designs and designs["users"]:
        yield (
            f"designs: {designs['users']} users, mean preference gain {designs['preference_gain_mean']:.3f}, "
            f"own design ranked first by {designs['own_rank_first_share']:.0%}"
        )
    if summary.get("lookbook"):
        yield f"lookbook: {Path(summary['lookbook']).as_uri()}"
