"""Format a study's figures as Markdown tables. Each takes the figures of one protocol and mode from report.json."""

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.study.measures import COMPARED, MEASURES, PER_USER_MEASURES, Measure
from pipeline.study.one_cell import SHUFFLED

Figures = Mapping[str, Any]


def summary(figures: Figures) -> list[str]:
    """Show the few metrics that decide, for a page that is not about the study."""
    shown = {name: MEASURES[name] for name in ("auc", "auc_warm_seen", "auc_cold_unseen", "ndcg_at_100")}
    shown |= {name: MEASURES[name] for name in ("recall_at_10", "recall_at_50", "map_at_12")}
    head = ("model", *map(_title, shown.values()), f"AUC minus {figures['reference']} (95%)")
    return _table(head, [
        [model, *(_value(row[name], one) for name, one in shown.items()), change(row.get("difference", {}).get("auc"))]
        for model, row in _sorted(figures)
    ])  # fmt: skip


def ranking(figures: Figures) -> list[str]:
    """Show where held-out items rank among all candidates, and among those that are alike."""
    shown = {name: one for name, one in MEASURES.items() if one.table == "ranking"}
    head = ("model", *map(_title, shown.values()), "validation AUC")
    return _table(head, [
        [model, *(_value(row[name], one) for name, one in shown.items()), f"{row['validation_auc']:.3f}"]
        for model, row in _sorted(figures)
    ])  # fmt: skip


def lists(figures: Figures) -> list[str]:
    """Show how good the recommended lists are, and how varied."""
    shown = {name: one for name, one in MEASURES.items() if one.table == "lists"}
    head = ("model", *map(_title, shown.values()))
    rows = _sorted(figures)
    return _table(head, [[model, *(_value(row.get(name), one) for name, one in shown.items())] for model, row in rows])


def against_reference(figures: Figures) -> list[str]:
    """Show each model minus the reference, on the same users and splits."""
    head = (f"model, minus {figures['reference']}", *(f"{PER_USER_MEASURES[name].title} (95%)" for name in COMPARED))
    return _table(head, [
        [model, *(change(row["difference"][name]) for name in COMPARED)]
        for model, row in _sorted(figures) if "difference" in row
    ])  # fmt: skip


def runs(figures: Figures) -> list[str]:
    """Show how often each model was trained, how much splits and seeds change its AUC, and how long a cell took."""
    head = (
        "model",
        "splits x seeds",
        "sd of AUC, splits",
        "sd of AUC, seeds",
        "chosen by",
        "s of training",
        "s of a cell",
    )
    return _table(head, [
        [
            model,
            f"{row['splits']} x {row['seeds']}",
            *("" if row[name] is None else f"{row[name]:.4f}" for name in ("sd_between_splits", "sd_between_seeds")),
            row.get("selected_by") or "",
            *(f"{row[name]:.1f}" if name in row else "" for name in ("training_seconds", "seconds")),
        ]
        for model, row in _sorted(figures)
    ])  # fmt: skip


def ablation(figures: Figures) -> list[str]:
    """Show the variants of each ablated model, minus the model itself; the greatest loss first."""
    lines: list[str] = []
    for base, variants in figures["ablations"].items():
        titles = [PER_USER_MEASURES[name].title for name in COMPARED]
        head = (f"variant of {base}", "AUC", "NDCG@100", *(f"{title} minus {base} (95%)" for title in titles))
        order = {model: number for number, (model, _) in enumerate(reversed(_sorted(figures)))}
        named = sorted(variants.items(), key=lambda pair: order[pair[0]])
        both: list[tuple[str, Figures]] = [(base, {"name": base, "difference": dict.fromkeys(COMPARED)}), *named]
        rows = [
            [
                row["name"],
                *(_plain(figures["models"][model][name], PER_USER_MEASURES[name]) for name in ("auc", "ndcg_at_100")),
                *(change(row["difference"][name]) for name in COMPARED),
            ]
            for model, row in both
        ]
        lines += [*([""] if lines else []), *_table(head, rows)]
    return lines


def skipped(figures: Figures) -> list[str]:
    """List the models that could not be trained, with the reason."""
    return [f"- {one['model']} was skipped: {one['reason']}" for one in figures["skipped"]]


def shuffled(figures: Figures) -> list[str]:
    """Say whether models on shuffled labels rank like chance."""
    lines = []
    for model, row in figures["shuffled_labels"].items():
        result = "a half, as it must be" if row["holds"] else "NOT a half: something leaks (or chance, 1 in 20)"
        auc = _value(row["auc"], PER_USER_MEASURES["auc"])
        lines.append(f"- Shuffled labels, {model.removesuffix(SHUFFLED)}: {auc}, {result}.")
    return lines


def quality_by_week(figures: Figures) -> list[str]:
    """Show each model on the first week after its cut, by the deciding metric."""
    metric = figures["sort"]
    cuts = sorted(figures["weeks"], key=int, reverse=True)
    head = (f"{MEASURES[metric].title}, week from", *(figures["weeks"][cut]["cut"] for cut in cuts))
    models = sorted(figures["by_week"].items(), key=lambda pair: -_latest(pair[1], metric))
    rows = [
        [model, *(_plain(of_model.get(cut, {}).get(metric), MEASURES[metric]) for cut in cuts)]
        for model, of_model in models
    ]
    for name, shown in (
        ("pairs", "*purchases measured*"),
        ("unseen", "*of them, of items not bought before the cut*"),
        ("unknown", "*purchases not measured: the customer or item may not be held out*"),
    ):
        rows.append([shown, *(f"{figures['weeks'][cut]['after'][0][name]:,}" for cut in cuts)])
    return _table(head, rows)


def ageing(figures: Figures) -> list[str]:
    """Show the deciding metric by age, minus that of a model trained up to the measured week."""
    metric = figures["sort"]
    measure = MEASURES[metric]
    ages = sorted({age for of_model in figures["ageing"].values() for age in of_model}, key=int)
    head = (f"{measure.title}, weeks since the cut", *map(str, ages))
    rows = []
    for model, of_model in sorted(figures["ageing"].items(), key=lambda pair: -pair[1][ages[0]][metric]["mean"]):
        values = [of_model.get(age, {}).get(metric) for age in ages[1:]]
        changes = [change(value["change"], measure.digits) if value else "" for value in values]
        rows.append([model, _plain(of_model[ages[0]][metric], measure), *changes])
    return _table(head, rows)


def change(interval: Mapping[str, float] | None, digits: int = 4) -> str:
    """Format a paired difference with its interval; nothing for None."""
    if interval is None:
        return ""
    low, high = (f"{interval[name]:+.{digits}f}" for name in ("low", "high"))
    return f"{interval['mean']:+.{digits}f} ({low} to {high})"


# Name in a document's marker -> (whether it is of the part with moving cuts, its table).
TABLES: dict[str, tuple[bool, Callable[[Figures], list[str]]]] = {
    "summary": (False, summary),
    "ranking": (False, ranking),
    "lists": (False, lists),
    "differences": (False, against_reference),
    "runs": (False, runs),
    "ablation": (False, ablation),
    "skipped": (False, skipped),
    "by_week": (True, quality_by_week),
    "ageing": (True, ageing),
}


def _table(head: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    if not rows:
        return []
    return [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1), *(f"| {' | '.join(row)} |" for row in rows)]


def _sorted(figures: Figures) -> list[tuple[str, Figures]]:
    """Return the models, best first by the deciding metric."""

    def key(pair: tuple[str, Figures]) -> float:
        value = pair[1].get(figures["sort"])
        value = value["mean"] if isinstance(value, Mapping) else value
        return float("inf") if value is None else -value

    return sorted(figures["models"].items(), key=key)


def _title(measure: Measure) -> str:
    return f"{measure.title} (95%)" if measure.interval else measure.title


def _value(value: Mapping[str, float] | float | None, measure: Measure) -> str:
    if value is None:
        return ""
    if not isinstance(value, Mapping):
        return f"{value:.{measure.digits}f}"
    if measure.interval:
        low, high = (f"{value[name]:.{measure.digits}f}" for name in ("low", "high"))
        return f"{value['mean']:.{measure.digits}f} ({low}-{high})"
    return _plain(value, measure)


def _plain(value: Mapping[str, float] | None, measure: Measure) -> str:
    return "" if value is None else f"{value['mean']:.{measure.digits}f}"


def _latest(by_cut: Mapping[Any, Figures], metric: str) -> float:
    """Return the metric of the latest cut that the model has, for the order of the rows."""
    return by_cut[min(by_cut, key=int)].get(metric, {"mean": float("-inf")})["mean"]
