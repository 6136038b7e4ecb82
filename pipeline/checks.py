"""Asset checks: rules whose breaking would make the next stage wrong, held where the data lies.

Each says what it saw and what it expected. Checks read tables and metadata; they compute no table.
"""

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.partitions import image_modes
from pipeline.recommenders import name_of
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
    asset="splits",
    partitions_def=image_modes,
    blocking=True,
    description="What is held out is not also in train: the pair, or one picture of it where split_unit is image.",
)
def no_held_out_pair_trains(context: dg.AssetCheckExecutionContext, splits: pa.Table) -> dg.AssetCheckResult:
    """A user has at most one pair of each held-out split, and what is held out stands nowhere else.

    Unit interaction: a pair stands in one split only, and no row names a picture. Unit image: a pair is held out once
    at most, by naming a picture of it, and stands in train once at most, without one: all of it but that picture.
    """
    unit = Ledger(context.instance).of("splits", context.partition_key).get("split_unit", "interaction")
    train = pc.equal(splits["split"], "train")
    names_picture = pc.is_valid(splits["sha256"])
    by_picture = unit == "image"
    # By picture, train and held out are counted apart: a pair may stand in both.
    side = train if by_picture else pa.repeat(True, splits.num_rows)
    wrong_unit = pc.equal(names_picture, train) if by_picture else names_picture
    held_out = splits.filter(pc.invert(train))
    training = splits.filter(train).select(["user", "item"])
    seen = {
        "pairs_in_two_splits": _repeated(splits.append_column("side", side), ["user", "item", "side"]),
        "users_with_two_of_a_split": _repeated(held_out, ["user", "split"]),
        "rows_of_another_unit": pc.sum(wrong_unit).as_py() or 0,
    }
    siblings = held_out.join(training, ["user", "item"], join_type="left semi").num_rows
    return dg.AssetCheckResult(
        passed=not any(seen.values()),
        metadata={**seen, "expected_of_each": 0, "split_unit": unit, "held_out_pairs_with_siblings_in_train": siblings},
    )


def _repeated(table: pa.Table, keys: list[str]) -> int:
    """How many values of the keys stand in more than one row."""
    counts = table.group_by(keys).aggregate([([], "count_all")])["count_all"]
    return pc.sum(pc.greater(counts, 1)).as_py() or 0


@dg.asset_check(
    asset="triplets",
    partitions_def=image_modes,
    additional_ins={"splits": dg.AssetIn("splits"), "catalogue": dg.AssetIn("catalogue")},
    blocking=True,
    description="Positives are of train and never held out; negatives are of items that their user has not touched.",
)
def no_triplet_leaks(
    context: dg.AssetCheckExecutionContext, triplets: pa.Table, splits: pa.Table, catalogue: pa.Table
) -> dg.AssetCheckResult:
    """Look every triplet up in the splits: its positive's pair and picture, its negatives' pairs."""
    negatives = Ledger(context.instance).of("triplets", context.partition_key).get("negatives", "train")
    user, positive = triplets["user"].to_numpy(), triplets["positive"].to_numpy()
    negative = triplets["negative"].combine_chunks().flatten().to_numpy()
    item = np.full(max(positive.max(initial=-1), negative.max(initial=-1), catalogue.num_rows - 1) + 1, -1, np.int32)
    item[catalogue["image"].to_numpy()] = catalogue["item"].to_numpy()
    train = pc.equal(splits["split"], "train")
    training = splits.filter(train)
    touched = splits if negatives == "all_splits" else training
    held_out = splits.filter(pc.invert(train))
    alone = held_out.filter(pc.is_valid(held_out["sha256"]))
    picture = pc.index_in(_pictures(alone), value_set=_pictures(catalogue)).fill_null(-1).to_numpy()
    image = np.append(catalogue["image"].to_numpy(), np.int32(-1))[picture]  # of each picture held out alone
    whole = _pair_codes(held_out.filter(pc.is_null(held_out["sha256"])))
    pair = _codes(user, item[positive])
    seen = {
        "positives_held_out": _among(pair, whole)
        + _among(_codes(user, positive), _codes(alone["user"].to_numpy(), image)),
        "positives_not_in_train": len(pair) - _among(pair, _pair_codes(training)),
        "negatives_touched": _among(
            _codes(np.repeat(user, len(negative) // max(1, len(user))), item[negative]), _pair_codes(touched)
        ),
        "pictures_unknown": int((item[positive] < 0).sum() + (item[negative] < 0).sum()),
    }
    return dg.AssetCheckResult(
        passed=not any(seen.values()),
        metadata={
            **seen, "expected_of_each": 0, "negatives": negatives, "triplets": len(user),
            "pictures_held_out_alone": alone.num_rows,
        },
    )  # fmt: skip


def _codes(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return left.astype(np.int64) << 32 | right


def _pair_codes(splits: pa.Table) -> np.ndarray:
    return _codes(splits["user"].to_numpy(), splits["item"].to_numpy())


def _pictures(table: pa.Table) -> pa.ChunkedArray:
    """A name for each row's (item, content)."""
    return pc.binary_join_element_wise(pc.cast(table["item"], pa.string()), table["sha256"], "/")


def _among(codes: np.ndarray, known: np.ndarray) -> int:
    """How many of `codes` are known."""
    return pc.sum(pc.is_in(pa.array(codes), value_set=pa.array(known))).as_py() or 0


@dg.asset_check(
    asset="recommender_evaluation",
    partitions_def=image_modes,
    description="The recommender's test AUC lies above random by its interval.",
)
def dvbpr_beats_chance(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """The lower end of the 95% interval must be above one half; a warning, for a person to look."""
    figures = Ledger(context.instance).of("recommender_evaluation", context.partition_key).get("figures", {})
    test = figures.get(name_of(figures), {}).get("test", {})
    low = test.get("auc_ci95", [0.0])[0]
    return dg.AssetCheckResult(
        passed=low > 0.5,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"auc": test.get("auc", 0.0), "lower_end": low, "expected_above": 0.5},
    )
