"""The card of a mode's recommender, made from its folder, and from the evaluation if it evaluated this model."""

from typing import Any

import numpy as np

from models.data.factors import Factors
from models.training.deciding import AUC, TITLES
from pipeline.cards.render import Card
from pipeline.core import parquet as pq
from pipeline.core.dataset.extent import Extent
from pipeline.core.dataset.split_facts import protocol_line, split_facts
from pipeline.core.schemas import RECOMMENDER_COMPARISON
from pipeline.home.storage import ModelFolder
from pipeline.recommenders import registry
from pipeline.upkeep.mlflow_records import Origin
from pipeline.views.home_contents import Home
from pipeline.views.words import MODES

FIGURES = {  # in addition to the AUC
    "warm_auc": "AUC of hidden items that somebody else has in training",
    "warm_among_seen": "the same, among items that somebody has there",
    "cold_auc": "AUC of hidden items that nobody else has there",
    "cold_among_unseen": "the same, among items that nobody has there",
    "auc_category": "AUC among items of the hidden item's type",
    "recall_at_10": "recall at 10",
    "recall_at_50": "recall at 50",
    "hit_at_10": "hit rate at 10",
    "ndcg_at_10": "NDCG at 10",
    "ndcg_at_100": "NDCG at 100",
    "map_at_12": "MAP at 12",
    "mrr": "mean reciprocal rank",
    "coverage_at_10": "share of the catalogue in anybody's first ten",
}
ALWAYS = (
    "It learns from purchases, and people only buy what they are shown: popular items get better scores than they "
    "deserve, and a gift counts as taste.",
    "Items that a person did not review count as not wanted, although the person never saw most of them.",
    "The interval is over people, for one training and one hold-out; it does not include another seed or season.",
    "Nobody was asked whether the order suits them, and price, size, season and stock are not considered.",
    "Purchases differ by age, sex, income and place; the data has none of these, so none of them was checked.",
)  # fmt: skip
FEW = 300  # people; with fewer, the interval of the AUC is wide and a network on pixels has little to learn from


def figures_of(home: Home, mode: str, folder: ModelFolder) -> dict[str, Any]:
    """Return {model: {split: figures}} of the mode's evaluation; empty if it is of another model than this folder's."""
    metadata = home.metadata("recommender_evaluation", mode)
    return metadata.get("figures", {}) if folder.run in metadata.get("runs", {}).values() else {}


def card(home: Home, mode: str, folder: ModelFolder, origin: Origin, registered: dict[str, Any], licence: str) -> Card:
    """Make the card.

    Args:
        home: the home with the evaluation.
        mode: the image mode.
        folder: the folder of the finished model.
        origin: the record of the run that trained it.
        registered: name, version and champion of its registered model; empty values if it is not registered.
        licence: licence of the data.
    """
    manifest = folder.manifest()
    recommender = registry.of_manifest(manifest)
    method, extent = recommender.name, Extent.of(manifest.get("extent"))
    figures = figures_of(home, mode, folder)
    own = figures.get(method, {})
    counts = counts_of(folder)
    compared = home.table("recommender_comparison")
    rows = [r for r in compared.to_pylist() if r["mode"] == mode] if compared is not None and own else []
    users = {row["split"]: row["users"] for row in rows if row["model"] == method}
    test, validation = ({**own[split], "users": users.get(split)} if own else None for split in ("test", "validation"))
    others = [
        {**dict.fromkeys(RECOMMENDER_COMPARISON.names), **row, "words": registry.title(row["model"])}
        for row in sorted(rows, key=lambda row: -row["auc"])
        if row["split"] == "test" and row["model"] != method
    ]
    name = f"{recommender.title}, {MODES[mode]}"
    history = manifest.get("history", [])
    content = {
        **counts, **registered,
        "name": name, "method": recommender.description, "method_name": recommender.title, "mode": mode,
        "mode_words": MODES[mode], "run": folder.run, "best_epoch": manifest.get("best_epoch"), "epochs": len(history),
        "chosen_by": TITLES[manifest.get("selected_by") or AUC],
        "begun": manifest.get("begun", "from scratch"), "settings": sorted(manifest.get("settings", {}).items()),
        "notes": manifest.get("notes", []), "code_version": manifest.get("code_version"), "origin": origin,
        "preset": origin.preset, "dagster_run": manifest.get("dagster_run"), "mlflow_run": manifest.get("mlflow_run"),
        "extent": extent.label,
        "inputs": sorted(manifest["inputs"].items()), "licence": licence, "validation": validation, "test": test,
        "figures": [(key, words) for key, words in FIGURES.items() if test and test.get(key) is not None],
        "others": others, "limits": limits(home, mode, counts, test, others, recommender.title, extent),
        "unit_words": (
            "Only a picture of the item was hidden: the model learnt from its other pictures, so these figures leak."
            if counts["leaky"]
            else "The hidden item was removed from training with all its pictures. The AUC is exact, over all items "
            "that the person does not have; ties count half."
        ),
    }  # fmt: skip
    return Card("recommender", content, _front(name, test, licence))


def counts_of(folder: ModelFolder) -> dict[str, Any]:
    """Count the model's training data in the tables beside it."""
    splits, catalogue = (pq.read_table(folder.path / f"{name}.parquet") for name in ("splits", "catalogue"))
    split_of = splits["split"].to_numpy()
    leaky = bool(splits["sha256"].null_count < splits.num_rows)
    return {
        "users": len(np.unique(splits["user"].to_numpy())),
        "items": len(np.unique(catalogue["item"].to_numpy())),
        "pictures": catalogue.num_rows,
        "train": int((split_of == "train").sum()),
        "held_out": {split: int((split_of == split).sum()) for split in ("validation", "test")},
        "by_source": {source: catalogue["source"].to_pylist().count(source) for source in ("vendor", "customer")},
        "factors": Factors.load(folder.verified / "factors.npz").theta.shape[1],
        "leaky": leaky,
        "protocol": protocol_line(split_facts(splits)),
    }


def limits(
    home: Home,
    mode: str,
    counts: dict[str, Any],
    test: dict[str, Any] | None,
    others: list[dict[str, Any]],
    own: str,
    extent: Extent | None = None,
) -> list[str]:
    """List the limits to know before using the model, the specific ones first."""
    specific = []
    if home.embedded:
        specific.append(
            "The shop, its shoppers and their tastes were made up by Atelier itself: the figures show that the "
            "pipeline works, and nothing about any shop."
        )
    if extent is not None and extent.sampled:
        specific.append(
            f"It knows only a part of the shop's users ({extent.label}). Fewer items compete and each has fewer "
            "buyers, so its figures say little about a model of all users."
        )
    if counts["leaky"]:
        specific.append("`split_unit: image`: the figures leak; compare them only with others that leak in this way.")
    ahead = [r["words"] for r in others if not registry.is_oracle(r["model"]) and (r["difference_low"] or 0) > 0]
    if ahead:
        specific.append(f"On this data {own} is behind {', '.join(ahead)}, by more than the choice of people explains.")
    if test and test["auc_ci95"] and test["auc_ci95"][0] <= 0.5:
        specific.append("Its interval includes 0.5: on this data it may be no better than chance.")
    if counts["users"] < FEW:
        specific.append(f"It has seen only {counts['users']:,} people.")
    trained_before = home.metadata("recommender_evaluation", mode).get("held_out_pairs_trained_on_before")
    if test and trained_before:
        specific.append(
            f"{trained_before:,} held-out purchases were not evaluated, because earlier models had learnt from them."
        )
    return [*specific, *ALWAYS]


def _front(name: str, test: dict[str, Any] | None, licence: str) -> dict[str, Any]:
    """Make the metadata at the head of the card, in the format of the Hugging Face hub."""
    front: dict[str, Any] = {
        "library_name": "pytorch", "pipeline_tag": "other", "license": "other", "license_name": licence,
        "tags": ["recommendation", "fashion", "visual", "atelier"],
    }  # fmt: skip
    if test:
        metric = {"type": "auc", "name": "AUC, test", "value": round(test["auc"], 6)}
        task, data = {"type": "other", "name": "recommendation"}, {"type": "private", "name": "the shop's own"}
        front["model-index"] = [{"name": name, "results": [{"task": task, "dataset": data, "metrics": [metric]}]}]
    return front
