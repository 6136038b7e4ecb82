"""Check pictures: those that the ledger calls ok can be read, and the share of broken URLs has not jumped."""

import hashlib
import math

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.images.ledger import PictureStore
from pipeline.home.storage import Storage

SHOWN = 10  # hashes in metadata
# The share of broken URLs may rise by this much, or by three standard errors if that is more.
BROKEN_RISE = 0.01


@dg.asset_check(
    asset="image_ledger",
    blocking=True,
    description="Every picture that the ledger calls ok is in the store, with the same bytes that were fetched.",
)
def every_picture_can_be_read(storage: Storage, image_ledger: pa.Table) -> dg.AssetCheckResult:
    """Read each picture and compare its hash with its name: the fetch decoded these bytes before hashing them."""
    store = PictureStore(storage.pictures)
    wanted = pc.unique(image_ledger["sha256"].drop_null()).to_pylist()
    missing = [sha for sha in wanted if sha not in store]
    gone = set(missing)
    damaged: list[str] = []
    unreadable = ""
    try:
        for sha, data in store.read(sha for sha in wanted if sha not in gone):
            if hashlib.sha256(data).hexdigest() != sha:
                damaged.append(sha)
    except (OSError, pa.ArrowException) as error:  # a page of the shard fails its checksum
        unreadable = str(error)
    return dg.AssetCheckResult(
        passed=not (missing or damaged or unreadable),
        metadata={
            "pictures": len(wanted),
            "missing": len(missing),
            "damaged": len(damaged),
            "expected_of_each": 0,
            "unreadable": unreadable,
            "named": (missing + damaged)[:SHOWN],
            "mend": ""
            if not (missing or damaged or unreadable)
            else f"delete the shard named, or {storage.pictures}, "
            "and materialise image_ledger: missing pictures are fetched again",
        },
    )


@dg.asset_check(asset="image_ledger", description="Not many more URLs are broken than at the last run.")
def broken_share_is_as_before(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Compare the share of broken URLs with the materialisation before this one."""
    records = context.instance.fetch_materializations(dg.AssetKey("image_ledger"), limit=2).records
    found = [
        {key: getattr(value, "value", value) for key, value in record.asset_materialization.metadata.items()}
        for record in records
        if record.asset_materialization is not None
    ]
    shares = [(float(each["broken_share"]), int(each["dagster/row_count"])) for each in found if "broken_share" in each]
    if len(shares) < 2:
        return dg.AssetCheckResult(
            passed=True, severity=dg.AssetCheckSeverity.WARN, metadata={"skipped": "this is the first run"}
        )
    (now, urls), (before, urls_before) = shares
    # Shares over different URLs differ by chance: allow three pooled standard errors of the difference.
    pooled = (now * urls + before * urls_before) / max(1, urls + urls_before)
    noise = 3 * math.sqrt(pooled * (1 - pooled) * (1 / max(1, urls) + 1 / max(1, urls_before)))
    bound = before + max(BROKEN_RISE, noise)
    return dg.AssetCheckResult(
        passed=now <= bound,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"broken_share": now, "last_run": before, "expected_at_most": round(bound, 5), "urls": urls},
    )
