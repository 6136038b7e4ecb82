"""Charts of studies: quality by week, and how it changes with the weeks since a model's cut."""

from collections.abc import Mapping
from typing import Any

from pipeline.views.plots import ACCENT, BLUE, GREEN, GREY, INK, Form, figure, framed, pixels

LINES = (ACCENT, BLUE, GREEN, INK, GREY)
STYLES = ("-", "--", ":")  # for more models than colours


def by_week(figures: Mapping[str, Any], title: str, form: Form = pixels) -> Any:
    """Draw the deciding metric by week of each model, and its change by age with intervals.

    `figures` are one mode's of report.json; `title` names the metric.
    """
    metric = figures["sort"]
    cuts = sorted(figures["weeks"], key=int, reverse=True)
    chart = figure(10.4, 4.2)
    quality, change = chart.subplots(1, 2)
    framed(quality, "the week after the cut", "first day of the week", title)
    framed(change, "later weeks, minus a model trained up to them", "weeks since the cut", f"{title}, change")
    for number, (model, of_model) in enumerate(figures["by_week"].items()):
        look = {"color": LINES[number % len(LINES)], "linestyle": STYLES[number // len(LINES) % len(STYLES)]}
        drawn = [
            (place, of_model[cut][metric]["mean"]) for place, cut in enumerate(cuts) if metric in of_model.get(cut, {})
        ]
        quality.plot([x for x, _ in drawn], [y for _, y in drawn], marker="o", ms=3, label=model, **look)
        ages = figures["ageing"][model]
        changes = [(int(age), ages[age][metric]["change"]) for age in sorted(ages, key=int)[1:]]
        changes = [(age, one) for age, one in changes if one is not None]
        change.plot(
            [1, *(age for age, _ in changes)], [0, *(one["mean"] for _, one in changes)], marker="o", ms=3, **look
        )
        for age, one in changes:
            change.plot([age, age], [one["low"], one["high"]], linewidth=0.8, alpha=0.5, **look)
    quality.set_xticks(range(len(cuts)), [figures["weeks"][cut]["cut"] for cut in cuts], rotation=45, ha="right")
    change.axhline(0, color=GREY, linewidth=0.8)
    change.xaxis.get_major_locator().set_params(integer=True)
    quality.legend(frameon=False, fontsize=7, loc="best")
    return form(chart)
