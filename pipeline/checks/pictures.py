"""Checks of pictures: what the ledger calls good can be read, and not many more URLs are broken than the last time."""

import hashlib
import math

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.images.ledger import PictureStore
from pipeline.home.storage import Storage

SHOWN = 10  # names in metadata
# So much may the share of broken URLs rise before somebody should look, or three standard errors where few are asked.
BROKEN_RISE = 0.01


@dg.asset_check(
    asset="image_ledger",
    blocking=True,
    description="Every picture that the ledger calls ok is in the store, byte for byte what was fetched and decoded.",
)
def every_picture_can_be_read(storage: Storage, image_ledger: pa.Table) -> dg.AssetCheckResult:
    """Read each picture and hash it: the fetch decoded these very bytes before it named them by their hash."""
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
    except (OSError, pa.ArrowException) as error:  # a shard whose pages do not add up
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
            "and materialise image_ledger: what is missing is fetched again",
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
    told = [(float(each["broken_share"]), int(each["dagster/row_count"])) for each in found if "broken_share" in each]
    if len(told) < 2:
        return dg.AssetCheckResult(
            passed=True, severity=dg.AssetCheckSeverity.WARN, metadata={"skipped": "this is the first run"}
        )
    (now, urls), (before, urls_before) = told
    # Two shares of other URLs each differ by chance; the pooled standard error of that difference, thrice.
    pooled = (now * urls + before * urls_before) / max(1, urls + urls_before)
    noise = 3 * math.sqrt(pooled * (1 - pooled) * (1 / max(1, urls) + 1 / max(1, urls_before)))
    bound = before + max(BROKEN_RISE, noise)
    return dg.AssetCheckResult(
        passed=now <= bound,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"broken_share": now, "last_run": before, "expected_at_most": round(bound, 5), "urls": urls},
    )
