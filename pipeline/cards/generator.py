"""The card of the generator, made from its folder, and from the evaluation if it evaluated this model."""

import json
from typing import Any

from pipeline.cards.render import Card
from pipeline.core.dataset.extent import Extent
from pipeline.core.tables import table_digest
from pipeline.home.storage import ModelFolder
from pipeline.upkeep.mlflow_records import Origin
from pipeline.views.generator_figures import figures
from pipeline.views.home_contents import Home
from pipeline.views.words import class_words

ALWAYS = (
    "A picture is 64 pixels high: it is a sketch, not a sewing pattern, and no evidence that anybody would buy it.",
    "It repeats what the shop shows: its cuts, colours and backgrounds, and the groups of people that it leaves out.",
    "Its figures are of few pictures and by this pipeline's own judge; they are not FIDs and can only be compared "
    "between runs on the same pictures.",
    "It may come close to a product that somebody has rights in: check the nearest training pictures before showing "
    "a design to anybody.",
)  # fmt: skip
COPIES = 0.95  # of the ratio between real pictures: below it, fakes are clearly closer to training pictures
FEW = 5000  # pictures; with fewer, the card warns


def evaluation_of(home: Home, folder: ModelFolder) -> dict[str, Any]:
    """Return the metadata of the generator's evaluation; empty if it is of another model than this folder's."""
    metadata = home.metadata("generator_evaluation")
    return metadata if metadata.get("generator") == folder.run else {}


def card(home: Home, folder: ModelFolder, origin: Origin, registered: dict[str, Any], licence: str) -> Card:
    """Make the card; arguments as in `recommender.card`."""
    manifest, meta = folder.manifest(), json.loads((folder.path / "meta.json").read_text())
    evaluation = evaluation_of(home, folder)
    values = evaluation.get("figures", {})
    pictures = sum(meta["counts"].values())
    learnt_from = garments_of(home, folder)
    settings = meta["settings"]
    content = {
        **registered,
        "name": "Garment generator", "run": folder.run, "classes": [class_words(n) for n in meta["class_names"]],
        "evaluated": bool(values), "notes_of_figures": evaluation.get("notes", []),
        "agreement": values.get("judge_agreement"), "agreement_floor": values.get("real_judge_agreement"),
        "steps": meta["steps"], "epochs": round(meta["pictures_seen"] / max(1, pictures), 1),
        "selected": meta["selected_step"], "settings": sorted(settings.items()), "notes": meta["notes"],
        "code_version": manifest.get("code_version"), "origin": origin, "preset": origin.preset,
        "dagster_run": manifest.get("dagster_run"), "mlflow_run": manifest.get("mlflow_run"),
        "extent": Extent.of(manifest.get("extent")).label,
        "inputs": sorted(manifest["inputs"].items()), "licence": licence, "pictures": pictures,
        "by_class": [
            {"words": class_words(n), "learnt": meta["counts"][n], "held_out": learnt_from.get(n, {}).get("held_out")}
            for n in meta["class_names"]
        ],
        "figures": figures(values), "shared": figures(evaluation.get("shared_features", {})),
        "z_dim": settings["z_dim"], "uniform": settings["z_distribution"] == "uniform",
        "limits": limits(home, values, pictures),
    }  # fmt: skip
    return Card("generator", content, _front(values, licence))


def garments_of(home: Home, folder: ModelFolder) -> dict[str, dict[str, int]]:
    """Map each class to the counts of its garments; empty if the model was not trained on the home's garments."""
    table = home.table("garments")
    if table is None or table_digest(table) != folder.manifest()["inputs"]["garments"]:
        return {}
    return home.metadata("garments").get("counts", {})


def limits(home: Home, values: dict[str, float], pictures: int) -> list[str]:
    """List the limits to know before using the model, the specific ones first."""
    specific = []
    if home.embedded:
        specific.append("Its pictures were drawn by Atelier itself: it has never seen a photograph.")
    if pictures < FEW:
        specific.append(f"It has seen only {pictures:,} pictures.")
    specific += [
        f"`{name}` is {value:.2f}, and {values[f'real_{name}']:.2f} between real pictures: its garments are closer to "
        "training pictures than to unseen ones."
        for name, value in values.items()
        if name.startswith("memorisation_ratio") and value < COPIES * values.get(f"real_{name}", 1.0)
    ]
    agreement, floor = values.get("judge_agreement"), values.get("real_judge_agreement")
    if agreement is not None and floor is not None and agreement < floor / 2:
        specific.append("A judge sees the requested class less than half as often as in real pictures.")
    return [*specific, *ALWAYS]


def _front(values: dict[str, float], licence: str) -> dict[str, Any]:
    front: dict[str, Any] = {
        "library_name": "pytorch", "pipeline_tag": "unconditional-image-generation", "license": "other",
        "license_name": licence, "tags": ["gan", "fashion", "atelier"],
    }  # fmt: skip
    if values:
        metrics = [{"type": n, "value": round(v, 6)} for n, v in values.items() if not n.startswith("real_")]
        task, data = {"type": "image-generation"}, {"type": "private", "name": "the shop's own"}
        results = [{"task": task, "dataset": data, "metrics": metrics}]
        front["model-index"] = [{"name": "Garment generator", "results": results}]
    return front
