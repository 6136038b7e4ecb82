"""Asset checks: rules whose breaking would make the next stage wrong, held where the data lies.

Each says what it saw and what it expected. Checks read tables and metadata; they compute no table.
"""

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.partitions import image_modes
from pipeline.summary import Ledger


@dg.asset_check(asset="rejects", blocking=True, description="Every line of the raw files is either read or rejected.")
def accepted_and_rejected_are_all_lines(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Compare accepted + rejected with the lines counted in the files."""
    ledger = Ledger(context.instance)
    reviews, products, rejects = ledger.of("reviews"), ledger.of("products"), ledger.of("rejects")
    lines = reviews.get("lines", 0) + products.get("lines", 0)
    accepted = reviews.get("accepted", 0) + products.get("accepted", 0)
    rejected = rejects.get("dagster/row_count", 0)
    return dg.AssetCheckResult(
        passed=accepted + rejected == lines,
        metadata={"lines": lines, "accepted": accepted, "rejected": rejected},
    )


@dg.asset_check(
    asset="interactions",
    additional_ins={"users": dg.AssetIn("users"), "items": dg.AssetIn("items")},
    blocking=True,
    description="User and item numbers are dense and in their tables; pairs are distinct.",
)
def interactions_are_whole(interactions: pa.Table, users: pa.Table, items: pa.Table) -> dg.AssetCheckResult:
    """Look every number up, and count pairs."""
    unknown_users = pc.sum(pc.invert(pc.is_in(interactions["user"], value_set=users["user"]))).as_py() or 0
    unknown_items = pc.sum(pc.invert(pc.is_in(interactions["item"], value_set=items["item"]))).as_py() or 0
    repeated = interactions.num_rows - interactions.group_by(["user", "item"]).aggregate([]).num_rows
    dense = all(
        np.array_equal(np.sort(table[name].to_numpy()), np.arange(table.num_rows))
        for table, name in ((users, "user"), (items, "item"))
    )
    return dg.AssetCheckResult(
        passed=not (unknown_users or unknown_items or repeated) and dense,
        metadata={
            "unknown_users": unknown_users, "unknown_items": unknown_items, "repeated_pairs": repeated,
            "numbers_dense": dense,
        },
    )  # fmt: skip


@dg.asset_check(
    asset="splits", partitions_def=image_modes, blocking=True, description="No held-out pair is also in train."
)
def no_held_out_pair_trains(splits: pa.Table) -> dg.AssetCheckResult:
    """A pair stands in one split only, and a user has at most one of each held-out split."""
    pairs = splits.group_by(["user", "item"]).aggregate([([], "count_all")])
    twice = pc.sum(pc.greater(pairs["count_all"], 1)).as_py() or 0
    held_out = splits.filter(pc.not_equal(splits["split"], "train"))
    per_user = held_out.group_by(["user", "split"]).aggregate([([], "count_all")])
    many = pc.sum(pc.greater(per_user["count_all"], 1)).as_py() or 0
    return dg.AssetCheckResult(
        passed=not twice and not many, metadata={"pairs_in_two_splits": twice, "users_with_two_of_a_split": many}
    )


@dg.asset_check(
    asset="recommender_evaluation",
    partitions_def=image_modes,
    description="DVBPR's test AUC lies above random by its interval.",
)
def dvbpr_beats_chance(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """The lower end of the 95% interval must be above one half; a warning, for a person to look."""
    figures = Ledger(context.instance).of("recommender_evaluation", context.partition_key).get("figures", {})
    test = figures.get("dvbpr", {}).get("test", {})
    low = test.get("auc_ci95", [0.0])[0]
    return dg.AssetCheckResult(
        passed=low > 0.5,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"auc": test.get("auc", 0.0), "lower_end": low, "expected_above": 0.5},
    )
