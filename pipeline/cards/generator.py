"""The generator's card: from its folder, and from the evaluation where that is of this very model."""

import json
from typing import Any

from pipeline.cards.render import Card
from pipeline.home.contents import Home
from pipeline.home.storage import ModelFolder
from pipeline.lookbook.data import class_words
from pipeline.lookbook.garments import figures
from pipeline.upkeep.tracked_ends import Origin
from pipeline.views.metadata import table_digest

ALWAYS = (
    "A picture is 64 pixels high: a sketch, no pattern that can be sewn and no promise that anybody would buy it.",
    "It repeats what the shop shows: its cuts, its colours, its backgrounds, and whoever it leaves out.",
    "Distances rest on ImageNet features of EfficientNet-Lite0 and on few pictures; they are no FID and compare runs "
    "of this pipeline alone.",
    "It may come near to a product that somebody has rights in: look at the nearest training pictures before a design "
    "is shown to anybody.",
)  # fmt: skip
COPIES = 0.9  # memorisation ratio under which fakes lie clearly nearer to training than to unseen pictures
FEW = 5000  # pictures


def figures_of(home: Home, folder: ModelFolder) -> dict[str, float]:
    """The generator's figures; empty where they are of another model than this folder's."""
    said = home.metadata("generator_evaluation")
    return said.get("figures", {}) if said.get("generator") == folder.run else {}


def card(home: Home, folder: ModelFolder, origin: Origin, registered: dict[str, Any], licence: str) -> Card:
    """The card; arguments as in `recommender.card`."""
    manifest, meta = folder.manifest(), json.loads((folder.path / "meta.json").read_text())
    values = figures_of(home, folder)
    pictures = sum(meta["counts"].values())
    learnt_from = garments_of(home, folder)
    settings = meta["settings"]
    content = {
        **registered,
        "name": "Garment generator", "run": folder.run, "classes": [class_words(n) for n in meta["class_names"]],
        "agreement": values.get("class_agreement"), "agreement_floor": values.get("floor_class_agreement"),
        "steps": meta["steps"], "epochs": round(meta["pictures_seen"] / max(1, pictures), 1),
        "selected": meta["selected_step"], "settings": sorted(settings.items()), "notes": meta["notes"],
        "code_version": manifest.get("code_version"), "origin": origin, "preset": origin.preset,
        "dagster_run": manifest.get("dagster_run"), "mlflow_run": manifest.get("mlflow_run"),
        "inputs": sorted(manifest["inputs"].items()), "licence": licence, "pictures": pictures,
        "by_class": [
            {"words": class_words(n), "learnt": meta["counts"][n], "held_out": learnt_from.get(n, {}).get("held_out")}
            for n in meta["class_names"]
        ],
        "figures": figures(values), "z_dim": settings["z_dim"], "uniform": settings["z_distribution"] == "uniform",
        "limits": limits(home, values, pictures),
    }  # fmt: skip
    return Card("generator", content, _front(values, licence))


def garments_of(home: Home, folder: ModelFolder) -> dict[str, dict[str, int]]:
    """Class -> counts of the garments; empty where the home's garments are others than the model learnt from."""
    table = home.table("garments")
    if table is None or table_digest(table) != folder.manifest()["inputs"]["garments"]:
        return {}
    return home.metadata("garments").get("counts", {})


def limits(home: Home, values: dict[str, float], pictures: int) -> list[str]:
    """What is to be known before it is used, the particular first."""
    found = []
    if home.embedded:
        found.append("Its pictures were drawn by Atelier itself: it has never seen a photograph.")
    if pictures < FEW:
        found.append(f"It has seen {pictures:,} pictures only.")
    copying = [(name, v) for name, v in values.items() if name.startswith("memorisation_ratio") and v < COPIES]
    found += [f"`{name}` is {value:.2f}: what it draws lies nearer to what it learnt from." for name, value in copying]
    agreement, floor = values.get("class_agreement"), values.get("floor_class_agreement")
    if agreement is not None and floor is not None and agreement < floor / 2:
        found.append("A classifier sees the class that was asked for less than half as often as in real pictures.")
    return [*found, *ALWAYS]


def _front(values: dict[str, float], licence: str) -> dict[str, Any]:
    front: dict[str, Any] = {
        "library_name": "pytorch", "pipeline_tag": "unconditional-image-generation", "license": "other",
        "license_name": licence, "tags": ["gan", "fashion", "atelier"],
    }  # fmt: skip
    if values:
        metrics = [{"type": n, "value": round(v, 6)} for n, v in values.items() if not n.startswith("floor_")]
        task, data = {"type": "image-generation"}, {"type": "private", "name": "the shop's own"}
        found = [{"task": task, "dataset": data, "metrics": metrics}]
        front["model-index"] = [{"name": "Garment generator", "results": found}]
    return front
