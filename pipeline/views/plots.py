"""Draw charts in one style: labelled axes, error bars if there is more than one value, the paper's figure in grey.

By default a chart is an array of pixels, for Dagster and MLflow. With `form=svg` it is an SVG for the lookbook, whose
style sheet sets its colours.
"""

import hashlib
import io
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pipeline.views.filter_counts import Steps
from pipeline.views.paper import TABLE_3

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, ACCENT, GREY = "#24292f", "#b4462a", "#9aa0a6"
PALE, GRID = "#dfe3e6", "#eceff1"
BLUE, GREEN = "#2f6f8f", "#6a8f3c"
# Names of these colours in the style sheet, so that a chart follows the page's light or dark theme.
IN_PAGE = {
    INK: "--ink", ACCENT: "--accent", GREY: "--soft", PALE: "--rule", GRID: "--rule", BLUE: "--blue", GREEN: "--green",
}  # fmt: skip
SVG_WIDTH = 4.9  # inches, so that text is readable on a phone
# Milder shades in which named colours are drawn.
NAMED = {
    "red": "#c8372d", "brown": "#7a4f2b", "orange": "#e8923a", "yellow": "#f0d94a", "green": "#4c8a4f",
    "blue": "#3a62a8", "purple": "#7c4a9a", "pink": "#f0a3b8", "grey": "#9a9a9a",
}  # fmt: skip


def figure(width: float = 6.4, height: float = 3.6) -> "Figure":
    """Make an empty figure in the common style; pyplot does not track it, so it need not be closed."""
    from matplotlib.figure import Figure

    chart = Figure(figsize=(width, height), dpi=120, layout="constrained")
    chart.set_facecolor("white")
    return chart


def _axes(chart: "Figure", title: str, x: str, y: str) -> Any:
    return framed(chart.subplots(), title, x, y)


def framed(axes: Any, title: str, x: str, y: str) -> Any:
    """Give axes the common style, a title and labels; return them."""
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(color=GREY, labelcolor=INK)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def pixels(chart: "Figure") -> np.ndarray:
    """Render a figure as uint8 [H, W, 3]."""
    sink = io.BytesIO()
    chart.savefig(sink, format="png")
    return np.asarray(Image.open(sink).convert("RGB"))


def svg(chart: "Figure") -> str:
    """Render a figure as an <svg> element for a page, with unique ids and with colours named as in the style sheet.

    The title is removed, because the page shows it as the caption. Text remains text, in the page's font.
    """
    import matplotlib as mpl

    titles = [axes.get_title(loc="left") for axes in chart.axes]
    for axes, title in zip(chart.axes, titles, strict=True):  # a title shared by all panels is the chart's title
        axes.set_title("" if len(set(titles)) == 1 else title, loc="left", fontsize=9.5, color=INK)
    if chart.get_suptitle():
        chart.suptitle("")
    chart.set_size_inches(min(chart.get_figwidth(), SVG_WIDTH), chart.get_figheight())
    chart.patch.set_visible(False)
    for axes in chart.axes:
        axes.patch.set_visible(False)
    sink = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "atelier"}):
        chart.savefig(sink, format="svg", metadata=nothing)
    text = sink.getvalue()
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", text))
    salt = hashlib.sha256(text.encode()).hexdigest()[:8]

    def named(found: re.Match[str]) -> str:
        return f' id="{found[1]}-{salt}"' if found[1] in used else ""

    text = re.sub(r' id="([^"]*)"', named, text)
    text = re.sub(r"(url\(#|href=\"#)([^\")]+)", rf"\1\2-{salt}", text)
    text = re.sub(r"font: ?(\d[\d.]*)px [^;\"]*", r"font-size: \1px", text)
    for colour, name in IN_PAGE.items():
        text = text.replace(colour, f"var({name})")
    return re.sub(r"\s*\n\s*", "\n", text)


Form = Callable[["Figure"], Any]  # `pixels`: uint8 [H, W, 3]; `svg`: text


def training_curve(history: Sequence[Mapping[str, float]], recommender: str, mode: str, form: Form = pixels) -> Any:
    """Draw loss and validation AUC by epoch, with the re-run's final AUC on Amazon Fashion 2018 in grey."""
    chart = figure(9.6, 3.6)
    epochs = [entry["epoch"] for entry in history]
    panels = chart.subplots(1, 2)
    for axes, name, shown in zip(panels, ("loss", "validation_auc"), ("training loss", "validation AUC"), strict=True):
        framed(axes, f"{recommender}, {mode}", "epoch", shown)
        axes.plot(epochs, [entry[name] for entry in history], color=ACCENT, marker="o", ms=4)
        axes.xaxis.get_major_locator().set_params(integer=True)
    if mode in TABLE_3:
        panels[1].axhline(TABLE_3[mode], color=GREY, linestyle="--", linewidth=1)
        panels[1].annotate(
            "as published", (1, TABLE_3[mode]), xycoords=("axes fraction", "data"), color=GREY,
            ha="right", va="bottom", fontsize=8,
        )  # fmt: skip
    panels[1].axhline(0.5, color=GREY, linewidth=0.6)
    return form(chart)


def comparison(rows: Sequence[Mapping[str, Any]], split: str, form: Form = pixels) -> Any:
    """Draw the AUC of every model in every mode with its interval; rows as in RECOMMENDER_COMPARISON."""
    chosen = [row for row in rows if row["split"] == split]
    modes = list(dict.fromkeys(row["mode"] for row in chosen))
    models = sorted({row["model"] for row in chosen}, key=lambda m: -max(r["auc"] for r in chosen if r["model"] == m))
    chart = figure(7.2, 0.9 + 0.42 * len(models))
    axes = _axes(chart, f"AUC on {split}, 95% interval over users", "AUC", "")
    axes.grid(axis="x", color=GRID)
    shades = [BLUE, ACCENT, GREEN]
    for offset, mode in enumerate(modes):
        of_mode = {row["model"]: row for row in chosen if row["mode"] == mode}
        for place, model in enumerate(models):
            if model in of_mode:
                row = of_mode[model]
                y = place + (offset - (len(modes) - 1) / 2) * 0.22
                axes.plot([row["auc_low"], row["auc_high"]], [y, y], color=shades[offset % 3], linewidth=2)
                axes.plot(row["auc"], y, "o", color=shades[offset % 3], ms=5, label=mode if place == 0 else None)
    axes.axvline(0.5, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(models)), models)
    axes.invert_yaxis()
    axes.legend(frameon=False, fontsize=8, loc="best")
    return form(chart)


def colours(shares: Mapping[str, Mapping[str, Mapping[str, float]]], form: Form = pixels) -> Any:
    """Draw shares of colours: a bar for each class and side, with parts in their own colours.

    `shares` is {side: {class: {colour: share}}}, with the sides training and generated.
    """
    rows = [(name, side) for name in shares["training"] for side in ("training", "generated")]
    chart = figure(7.2, 0.9 + 0.26 * len(rows))
    axes = _axes(chart, "Colours of garments", "share of the garment's pixels", "")
    axes.grid(visible=False)
    labels = []
    for place, (name, side) in enumerate(rows):
        y, left = place + 0.35 * (place // 2), 0.0
        labels.append((y, f"{name.replace('_', ' ')}, {side}"))
        for colour, share in shares[side].get(name, {}).items():
            axes.barh(y, share, 0.85, left=left, color=NAMED.get(colour, colour), edgecolor=PALE, linewidth=0.5)
            left += share
    axes.set_yticks([y for y, _ in labels], [label for _, label in labels], fontsize=8)
    axes.set_xlim(0, 1)
    axes.invert_yaxis()
    return form(chart)


def tradeoff(rows: Sequence[Mapping[str, float]], form: Form = pixels) -> Any:
    """Draw the gain in preference against the remaining realism, a point for each weight eta.

    `rows` come from the asset `designs_tradeoff`.
    """
    chart = figure(6.4, 4.0)
    axes = _axes(
        chart, "What realism costs", "realism of the finished design (1 is real)", "gain in score, sd of the user"
    )
    realism = [row["realism_after_mean"] for row in rows]
    gain = [row["preference_gain_sd_mean"] for row in rows]
    axes.plot(realism, gain, color=ACCENT, marker="o", ms=5)
    for x, y, row in zip(realism, gain, rows, strict=True):
        axes.annotate(f"eta {row['eta']:g}", (x, y), xytext=(5, 5), textcoords="offset points", fontsize=8, color=INK)
    axes.axvline(rows[0]["realism_before_mean"], color=GREY, linestyle="--", linewidth=1)
    axes.annotate(
        "before the search", (rows[0]["realism_before_mean"], 0), xycoords=("data", "axes fraction"), color=GREY,
        xytext=(4, 4), textcoords="offset points", fontsize=8,
    )  # fmt: skip
    return form(chart)


def bars(counts: Mapping[str, int], title: str, x: str = "pictures", form: Form = pixels) -> Any:
    """Draw counts as horizontal bars, largest first."""
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    chart = figure(6.4, 0.8 + 0.32 * max(1, len(ordered)))
    axes = _axes(chart, title, x, "")
    drawn = axes.barh([name for name, _ in ordered], [count for _, count in ordered], color=ACCENT)
    axes.bar_label(drawn, fmt="{:,.0f}", padding=3, fontsize=8, color=INK)
    axes.invert_yaxis()
    return form(chart)


def waterfall(counted: Steps, title: str, form: Form = pixels) -> Any:
    """Draw what is left after every step, and in grey what the step removed, in a panel for each counted thing.

    Every panel has its own scale, from 0. The panels share the steps, which run downwards.
    """
    names = list(dict.fromkeys(step.name for steps in counted.values() for step in steps))
    chart = figure(1.5 + 2.0 * len(counted), 1.1 + 0.5 * len(names))
    chart.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    chart.supxlabel("red: left after the step, grey: what the step took", x=0.01, ha="left", fontsize=7.5, color=GREY)
    panels = chart.subplots(1, len(counted), sharey=True, squeeze=False)[0]
    for axes, (what, steps) in zip(panels, counted.items(), strict=True):
        most = max([step.left for step in steps], default=0) or 1
        before = None
        for step in steps:
            y = names.index(step.name)
            taken = 0 if before is None else before - step.left
            axes.barh(y, step.left, 0.62, color=ACCENT)
            if taken:
                axes.barh(y, taken, 0.62, left=step.left, color=PALE)
            end = (max(step.left, before or 0), y)
            words = {"xytext": (5, 6 if taken else 0), "textcoords": "offset points", "va": "center", "fontsize": 8.5}
            axes.annotate(f"{step.left:,}", end, color=INK, **words)
            if taken:
                axes.annotate(f"−{taken:,}", end, color=GREY, **{**words, "xytext": (5, -6)})
            before = step.left
        axes.set_title(what, loc="left", fontsize=9.5, color=INK)
        axes.set_xlim(0, 1.5 * most)  # room for the label of the longest bar
        axes.set_xticks([])
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.spines["left"].set_color(GREY)
        axes.tick_params(axis="y", length=0, labelsize=8.5, labelcolor=INK)
    panels[0].set_yticks(range(len(names)), [textwrap.fill(name, 21) for name in names])
    panels[0].invert_yaxis()
    return form(chart)


def by_group(
    groups: Sequence[str], series: Mapping[str, Sequence[tuple[float, float, float]]], title: str, x: str,
    form: Form = pixels,
) -> Any:  # fmt: skip
    """Draw the AUC with its interval by group, a mark for each model: the first in red, the others in milder colours.

    Args:
        groups: names of the groups, in order.
        series: model -> (mean, low, high) of every group; the first model is the reference.
        title: title of the chart.
        x: label of the x axis: the quantity that defines the groups.
        form: `pixels` or `svg`.
    """
    chart = figure(5.6, 3.4)
    axes = _axes(chart, title, x, "AUC")
    for number, (name, values) in enumerate(series.items()):
        mean, low, high = np.asarray(values, float).reshape(-1, 3).T
        place = np.arange(len(groups)) + (number - (len(series) - 1) / 2) * 0.2
        colour = (ACCENT, BLUE, GREEN, GREY)[number % 4]
        axes.vlines(place, low, high, color=colour, linewidth=2)
        axes.plot(place, mean, "osD^"[number % 4], color=colour, ms=5, label=name)
    axes.axhline(0.5, color=GREY, linewidth=0.8)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    chart.legend(frameon=False, fontsize=8.5, loc="outside upper left", ncols=3, labelcolor=INK)
    return form(chart)


def shares(
    groups: Sequence[str], series: Mapping[str, Sequence[float]], title: str, x: str, y: str, form: Form = pixels
) -> Any:
    """Draw columns side by side: a position for each group, a colour for each series."""
    chart = figure(5.6, 3.0)
    axes = _axes(chart, title, x, y)
    width = 0.8 / max(1, len(series))
    for number, (name, values) in enumerate(series.items()):
        place = np.arange(len(groups)) + (number - (len(series) - 1) / 2) * width
        axes.bar(place, values, width * 0.92, color=(BLUE, ACCENT, GREEN)[number % 3], label=name)
    axes.set_xticks(range(len(groups)), groups)
    chart.legend(frameon=False, fontsize=8.5, loc="outside upper left", ncols=2, labelcolor=INK)
    return form(chart)
