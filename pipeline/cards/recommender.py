"""The card of an image mode's recommender: from its folder, and from the evaluation where that is of this model."""

from typing import Any

import numpy as np

from models.factors import Factors
from pipeline.cards.render import Card
from pipeline.core import parquet as pq
from pipeline.core.recommender_names import DVBPR
from pipeline.lookbook.data import MODES
from pipeline.lookbook.home import Home
from pipeline.lookbook.recommender import MODELS, PLANTED
from pipeline.storage import ModelFolder
from pipeline.upkeep.tracked_ends import Origin

FIGURES = {  # beside the AUC
    "warm_auc": "AUC where somebody else has the hidden item in training",
    "cold_auc": "AUC where nobody else has it",
    "auc_category": "AUC among items of the hidden one's own type",
    "recall_at_10": "hit rate at 10",
    "ndcg_at_10": "NDCG at 10",
    "mrr": "mean reciprocal rank",
    "coverage_at_10": "share of the catalogue in anybody's ten",
}
METHODS = {
    DVBPR: "DVBPR, a convolutional network and user factors trained together from pixels (Kang et al. 2017)",
    "modern": "a taste read off frozen ImageNet features of the pictures of a person's history",
}
ALWAYS = (
    "It learns from what was bought, and what was bought was on show: popular items look better than they are liked, "
    "and a gift counts as taste.",
    "What a person did not review counts as not wanted, although most of it they never saw.",
    "The interval is over people, for one training and one hold-out; another seed or season is not in it.",
    "Nobody was asked whether the order suits them, and no price, size, season or stock enters.",
    "Who buys what differs by age, sex, income and place; the data says nothing of these, so none is checked.",
)  # fmt: skip
FEW = 300  # people, below which an AUC's interval is wide and a network from pixels has little to learn from


def figures_of(home: Home, mode: str, folder: ModelFolder) -> dict[str, Any]:
    """Model -> split -> figures of the mode's evaluation; empty where it is of another model than this folder's."""
    said = home.metadata("recommender_evaluation", mode)
    return said.get("figures", {}) if said.get("recommender") == folder.run else {}


def card(home: Home, mode: str, folder: ModelFolder, origin: Origin, registered: dict[str, Any], licence: str) -> Card:
    """The card.

    Args:
        home: where the evaluation lies.
        mode: the image mode.
        folder: the model's, finished.
        origin: what its training's run says.
        registered: name, version and champion of its registered model; empty values where it is not registered.
        licence: of the data.
    """
    manifest = folder.manifest()
    method = manifest.get("model", DVBPR)
    figures = figures_of(home, mode, folder)
    own = figures.get(method, {})
    counts = counts_of(folder)
    compared = home.table("recommender_comparison")
    rows = [r for r in compared.to_pylist() if r["mode"] == mode] if compared is not None and own else []
    users = {row["split"]: row["users"] for row in rows if row["model"] == method}
    test, validation = ({**own[split], "users": users.get(split)} if own else None for split in ("test", "validation"))
    others = [
        {**row, "words": MODELS.get(row["model"], (row["model"],))[0]}
        for row in sorted(rows, key=lambda row: -row["auc"])
        if row["split"] == "test" and row["model"] != method
    ]
    name = f"{MODELS[method][0]}, {MODES[mode]}"
    history = manifest.get("history", [])
    content = {
        **counts, **registered,
        "name": name, "method": METHODS[method], "method_name": MODELS[method][0], "mode": mode,
        "mode_words": MODES[mode], "run": folder.run, "best_epoch": manifest.get("best_epoch"), "epochs": len(history),
        "begun": manifest.get("begun", "as new"), "settings": sorted(manifest.get("settings", {}).items()),
        "notes": manifest.get("notes", []), "code_version": manifest.get("code_version"), "origin": origin,
        "preset": origin.preset, "dagster_run": manifest.get("dagster_run"), "mlflow_run": manifest.get("mlflow_run"),
        "inputs": sorted(manifest["inputs"].items()), "licence": licence, "validation": validation, "test": test,
        "figures": [(key, words) for key, words in FIGURES.items() if test and test.get(key) is not None],
        "others": others, "limits": limits(home, mode, counts, test, others, MODELS[method][0]),
        "unit_words": (
            "A picture was hidden, not an item: the item's other pictures were learnt from, so these figures leak."
            if counts["leaky"]
            else "The hidden item left training with all its pictures. AUC is exact, over all items the person does "
            "not have, ties a half."
        ),
    }  # fmt: skip
    return Card("recommender", content, _front(name, test, licence))


def counts_of(folder: ModelFolder) -> dict[str, Any]:
    """What the model learnt from, counted in the tables beside it."""
    splits, catalogue = (pq.read_table(folder.path / f"{name}.parquet") for name in ("splits", "catalogue"))
    of = splits["split"].to_numpy()
    leaky = bool(splits["sha256"].null_count < splits.num_rows)
    return {
        "users": len(np.unique(splits["user"].to_numpy())),
        "items": len(np.unique(catalogue["item"].to_numpy())),
        "pictures": catalogue.num_rows,
        "train": int((of == "train").sum()),
        "held_out": {split: int((of == split).sum()) for split in ("validation", "test")},
        "by_source": {source: catalogue["source"].to_pylist().count(source) for source in ("vendor", "customer")},
        "factors": Factors.load(folder.opened / "factors.npz").theta.shape[1],
        "leaky": leaky,
        "hold_out": "one picture of a purchase hidden a split" if leaky else "one purchase hidden a split",
    }


def limits(
    home: Home, mode: str, counts: dict[str, Any], test: dict[str, Any] | None, others: list[dict[str, Any]], own: str
) -> list[str]:
    """What is to be known before it is used, the particular first."""
    found = []
    if home.embedded:
        found.append(
            "The shop, its shoppers and their tastes were drawn by Atelier itself: the figures show that the chain "
            "works, and nothing about any shop."
        )
    if counts["leaky"]:
        found.append("`split_unit: image`: the figures leak and may only be set beside others that leak so.")
    ahead = [r["words"] for r in others if r["model"] != PLANTED and (r["difference_low"] or 0) > 0]
    if ahead:
        found.append(f"On this data {own} is behind {', '.join(ahead)}, by more than chance over people explains.")
    if test and test["auc_ci95"] and test["auc_ci95"][0] <= 0.5:
        found.append("Its interval holds one half: on this data it may be no better than a guess.")
    if counts["users"] < FEW:
        found.append(f"It has seen {counts['users']:,} people only.")
    trained_before = home.metadata("recommender_evaluation", mode).get("held_out_pairs_trained_on_before")
    if test and trained_before:
        found.append(
            f"{trained_before:,} held-out purchases were not evaluated: models before it had learnt from them."
        )
    return [*found, *ALWAYS]


def _front(name: str, test: dict[str, Any] | None, licence: str) -> dict[str, Any]:
    """The head for machines: model-card metadata as the Hugging Face hub reads it."""
    front: dict[str, Any] = {
        "library_name": "pytorch", "pipeline_tag": "other", "license": "other", "license_name": licence,
        "tags": ["recommendation", "fashion", "visual", "atelier"],
    }  # fmt: skip
    if test:
        metric = {"type": "auc", "name": "AUC, test", "value": round(test["auc"], 6)}
        task, data = {"type": "other", "name": "recommendation"}, {"type": "private", "name": "the shop's own"}
        front["model-index"] = [{"name": name, "results": [{"task": task, "dataset": data, "metrics": [metric]}]}]
    return front
