"""Record models that an earlier version trained under another asset's key, so that automation knows them.

Earlier versions trained `modern` in the asset `dvbpr`. Automation requests only assets that were made before, so such a
home would not be refreshed until a person materialised `modern`. The model needs no training: its folder is found.
"""

import dagster as dg

from pipeline.home.partitions import image_modes
from pipeline.home.storage import Storage
from pipeline.recommenders.trained import trained

_OF_INPUTS = ("dagster/input_data_version/", "dagster/input_event_pointer/")
_OF_THE_ASSET = ("dagster/data_version", "dagster/code_version")


def carry_over(instance: dg.DagsterInstance, storage: Storage) -> list[str]:
    """Report each current recommender that was made under another key as made under its own; return these assets.

    The versions of its data, code and inputs are those of the original materialisation, so Dagster finds it up to date
    exactly if it was. Models that are known under their own key are left alone.
    """
    carried = []
    for mode in image_modes.get_partition_keys():
        for name, folder in trained(storage, mode).items():
            manifest = folder.manifest()
            made_as = manifest.get("asset", "")
            if not made_as or made_as == name or _latest(instance, name, mode) is not None:
                continue
            original = _latest(instance, made_as, mode)
            if original is None:
                continue
            kept = {tag: value for tag, value in (original.tags or {}).items() if _is_kept(tag, manifest["inputs"])}
            instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    asset_key=name,
                    partition=mode,
                    metadata=dict(original.metadata),
                    description=f"trained by an earlier version as {made_as}",
                    tags=kept,
                )
            )
            carried.append(f"{name}[{mode}]")
    return carried


def _latest(instance: dg.DagsterInstance, asset: str, partition: str) -> dg.AssetMaterialization | None:
    """Find the latest materialisation of a partition."""
    found = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[partition]), limit=1
    )
    return found.records[0].asset_materialization if found.records else None


def _is_kept(tag: str, inputs: dict[str, str]) -> bool:
    """Keep the asset's own versions, and those of the inputs that its model was made from."""
    return tag in _OF_THE_ASSET or any(tag == f"{prefix}{name}" for prefix in _OF_INPUTS for name in inputs)
