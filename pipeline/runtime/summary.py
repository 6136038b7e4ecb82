"""The contents of summary.json: the results of a run, read from its assets' metadata on the Dagster instance.

Nothing is computed here. A new figure in an asset's metadata must be added here too.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from pipeline.core.schemas import IMAGE_MODES

NEAR_DUPLICATES = (
    "pictures", "clusters", "clusters_across_items", "pictures_across_items", "equal_pictures_across_items", "blank",
)  # fmt: skip


class LatestMetadata:
    """The metadata of each asset's latest materialisation, as plain values."""

    def __init__(self, instance: dg.DagsterInstance):
        self._instance = instance

    def of(self, asset: str, partition: str | None = None) -> dict[str, Any]:
        """Read the metadata of an asset's latest materialisation; empty if there is none."""
        selection = dg.AssetRecordsFilter(
            asset_key=dg.AssetKey(asset), asset_partitions=[partition] if partition else None
        )
        records = self._instance.fetch_materializations(selection, limit=1).records
        if not records or records[0].asset_materialization is None:
            return {}
        return {key: getattr(v, "value", v) for key, v in records[0].asset_materialization.metadata.items()}


def summarise(
    instance: dg.DagsterInstance, tracking: Mapping[str, str], seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Collect the summary of a home.

    Args:
        instance: where the assets were materialised.
        tracking: `tracking_uri` and `experiment`.
        seconds: wall-clock seconds by asset or asset[partition].
    """
    latest = LatestMetadata(instance)
    reviews, core, fetched = latest.of("reviews"), latest.of("interactions"), latest.of("image_ledger")
    similar = latest.of("near_duplicates")
    run_ids = {}
    for name in seconds:
        asset, _, partition = name.removesuffix("]").partition("[")
        run_id = latest.of(asset, partition or None).get("mlflow_run_id")
        if run_id:
            run_ids[name] = run_id
    summary: dict[str, Any] = {
        "data": {
            "reviews": reviews.get("dagster/row_count"),
            "doubts": reviews.get("doubts") or [],  # what could not be read or understood, with the mend
            "rejected_lines": latest.of("rejects").get("dagster/row_count"),
            "users": core.get("counts", {}).get("users"),
            "items": core.get("counts", {}).get("items"),
            "five_core_users": core.get("counts", {}).get("five_core_users"),
            "five_core_items": core.get("counts", {}).get("five_core_items"),
            "garment_classes": latest.of("products").get("garment_classes"),
            "duplicate_reviews": core.get("counts", {}).get("duplicate_reviews"),
            "five_core_steps": core.get("counts"),
            "k": core.get("k"),
            "extent": core.get("extent", ""),
            "sample": core.get("sample"),
            "image_urls": latest.of("image_urls").get("urls"),
            "images_ok": fetched.get("images_ok"),
            "images_broken": fetched.get("images_broken"),
            "picture_requests": fetched.get("requests"),
            "near_duplicates": {key: similar[key] for key in NEAR_DUPLICATES if key in similar},
        },
        "modes": {mode: found for mode in IMAGE_MODES if (found := _mode(latest, mode))},
        "mlflow": {**tracking, "run_ids": run_ids},
        "seconds": dict(seconds),
    }
    generator = latest.of("lsgan")
    if generator:
        evaluation = latest.of("generator_evaluation")
        summary["generator"] = {
            "epochs": generator.get("epochs"),
            "images": generator.get("images"),
            **evaluation.get("figures", {}),
            "by_class": evaluation.get("by_class", {}),
            "shared_features": evaluation.get("shared_features", {}),
            "pictures": evaluation.get("pictures", {}),
            "notes": evaluation.get("notes", []),
            "champion": _champion(latest.of("generator_champion")),
        }
    designs = latest.of("personal_designs")
    if designs:
        keys = (
            "users", "preference_gain_mean", "preference_gain_sd_mean", "own_rank_first_share",
            "own_rank_in_class_first_share", "users_gained_share", "objective", "recommender",
        )  # fmt: skip
        summary["designs"] = {key: designs.get(key) for key in keys}
    page = latest.of("lookbook").get("page")
    if page:
        summary["lookbook"] = page
    return summary


def _mode(latest: LatestMetadata, mode: str) -> dict[str, Any]:
    split, catalogue = latest.of("splits", mode), latest.of("catalogue", mode)
    triplets, evaluation = latest.of("triplets", mode), latest.of("recommender_evaluation", mode)
    if not split:
        return {}
    surviving = split.get("surviving", {})
    return {
        "users": surviving.get("users"),
        "items": surviving.get("items"),
        "item_images": catalogue.get("item_images"),
        "surviving": surviving,
        "loss": split.get("loss", {}),
        "extent": split.get("extent", ""),
        "split_unit": split.get("split_unit"),
        "protocol": split.get("protocol", ""),
        "train_interactions": split.get("train"),
        "triplets_per_epoch": triplets.get("triplets_per_epoch"),
        "models": evaluation.get("figures", {}),
        "champion": _champion(latest.of("recommender_champion", mode)),
    }


def _champion(found: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the champion's version of a registered model, and the decision on the newest version."""
    keys = (
        "registered_model", "version", "champion_version", "champion_model", "why", "recommender", "why_chosen",
        "against_popularity", "visual_recommender", "visual_version", "visual_model",
    )  # fmt: skip
    return {key: found[key] for key in keys if key in found}
