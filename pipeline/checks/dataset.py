"""Check tables against each other: lines, numbers, splits, triplets, and near-duplicates across a split."""

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import parquet as pq
from pipeline.core.dataset.splits import ONE_EACH
from pipeline.home.partitions import image_modes
from pipeline.home.storage import Storage
from pipeline.runtime.summary import LatestMetadata


@dg.asset_check(asset="rejects", blocking=True, description="Every line of the raw files is either read or rejected.")
def accepted_and_rejected_are_all_lines(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Compare accepted + rejected with the lines counted in the files."""
    ledger = LatestMetadata(context.instance)
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
    """Look up every user and item number, and count repeated pairs."""
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
            "expected_of_each": 0, "numbers_dense": dense, "numbers_expected": "dense",
        },
    )  # fmt: skip


@dg.asset_check(
    asset="splits",
    partitions_def=image_modes,
    blocking=True,
    description="A held-out pair, or picture if split_unit is image, is not in train and is held out only once.",
)
def no_held_out_pair_trains(context: dg.AssetCheckExecutionContext, splits: pa.Table) -> dg.AssetCheckResult:
    """Check that held-out data is in no other split, and that a user has as much held out as the hold-out says.

    With hold-out random or latest a user has at most one pair in each held-out split. With basket and time a user may
    have several, and no train pair is on the day of a held-out one or later: of the same user, or of anybody.

    With unit interaction, a pair is in one split only and no row names a picture. With unit image, a pair is held out
    at most once, in a row that names a picture. It may also be in train once, in a row without a picture, which stands
    for its other pictures.
    """
    made = LatestMetadata(context.instance).of("splits", context.partition_key)
    unit, hold_out = made.get("split_unit", "interaction"), made.get("hold_out", "random")
    train = pc.equal(splits["split"], "train")
    names_picture = pc.is_valid(splits["sha256"])
    by_picture = unit == "image"
    # With unit image, a pair may be both in train and held out, so count the two sides separately.
    side = train if by_picture else pa.repeat(True, splits.num_rows)
    wrong_unit = pc.equal(names_picture, train) if by_picture else names_picture
    held_out = splits.filter(pc.invert(train))
    training = splits.filter(train).select(["user", "item"])
    seen = {
        "pairs_in_two_splits": _repeated(splits.append_column("side", side), ["user", "item", "side"]),
        "users_with_two_of_a_split": _repeated(held_out, ["user", "split"]) if hold_out in ONE_EACH else 0,
        "train_pairs_too_late": 0 if hold_out in ONE_EACH else _too_late(splits, of_one_user=hold_out == "basket"),
        "rows_of_another_unit": pc.sum(wrong_unit).as_py() or 0,
    }
    siblings = held_out.join(training, ["user", "item"], join_type="left semi").num_rows
    return dg.AssetCheckResult(
        passed=not any(seen.values()),
        metadata={
            **seen,
            "expected_of_each": 0,
            "split_unit": unit,
            "hold_out": hold_out,
            "held_out_pairs_with_siblings_in_train": siblings,
        },
    )


def _too_late(splits: pa.Table, *, of_one_user: bool) -> int:
    """Count the train pairs on the day of a held-out pair or later, of the same user or of anybody."""
    dated = splits.filter(pc.is_valid(splits["time"]))
    user, day = dated["user"].to_numpy() * of_one_user, dated["time"].to_numpy() // 86_400
    train = np.asarray(pc.equal(dated["split"], "train"))
    first = np.full(int(user.max(initial=0)) + 1, np.iinfo(np.int64).max)  # held-out day of each user
    np.minimum.at(first, user[~train], day[~train])
    return int((day >= first[user])[train].sum())


def _repeated(table: pa.Table, keys: list[str]) -> int:
    """Count the key values that occur in more than one row."""
    counts = table.group_by(keys).aggregate([([], "count_all")])["count_all"]
    return pc.sum(pc.greater(counts, 1)).as_py() or 0


@dg.asset_check(
    asset="triplets",
    partitions_def=image_modes,
    additional_ins={"splits": dg.AssetIn("splits"), "catalogue": dg.AssetIn("catalogue")},
    blocking=True,
    description="Positives are in train and never held out; negatives show items that the user has not touched.",
)
def no_triplet_leaks(
    context: dg.AssetCheckExecutionContext, triplets: pa.Table, splits: pa.Table, catalogue: pa.Table
) -> dg.AssetCheckResult:
    """Look up each triplet in the splits: the positive's pair and picture, and the negatives' pairs."""
    negatives = LatestMetadata(context.instance).of("triplets", context.partition_key).get("negatives", "train")
    user, positive = triplets["user"].to_numpy(), triplets["positive"].to_numpy()
    negative = triplets["negative"].combine_chunks().flatten().to_numpy()
    item = np.full(max(positive.max(initial=-1), negative.max(initial=-1), catalogue.num_rows - 1) + 1, -1, np.int32)
    item[catalogue["image"].to_numpy()] = catalogue["item"].to_numpy()
    train = pc.equal(splits["split"], "train")
    training = splits.filter(train)
    touched = splits if negatives == "all_splits" else training
    held_out = splits.filter(pc.invert(train))
    single = held_out.filter(pc.is_valid(held_out["sha256"]))  # one picture is held out, not the whole pair
    picture = pc.index_in(_pictures(single), value_set=_pictures(catalogue)).fill_null(-1).to_numpy()
    image = np.append(catalogue["image"].to_numpy(), np.int32(-1))[picture]  # of each row of `single`
    whole = _pair_codes(held_out.filter(pc.is_null(held_out["sha256"])))
    pair = _codes(user, item[positive])
    seen = {
        "positives_held_out": _among(pair, whole)
        + _among(_codes(user, positive), _codes(single["user"].to_numpy(), image)),
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
            "pictures_held_out_alone": single.num_rows,
        },
    )  # fmt: skip


def _codes(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return left.astype(np.int64) << 32 | right


def _pair_codes(splits: pa.Table) -> np.ndarray:
    return _codes(splits["user"].to_numpy(), splits["item"].to_numpy())


def _pictures(table: pa.Table) -> pa.ChunkedArray:
    """Join item and content hash of each row as `item/sha256`."""
    return pc.binary_join_element_wise(pc.cast(table["item"], pa.string()), table["sha256"], "/")


def _among(codes: np.ndarray, known: np.ndarray) -> int:
    """Count the `codes` that are in `known`."""
    return pc.sum(pc.is_in(pa.array(codes), value_set=pa.array(known))).as_py() or 0


# A near-duplicate in train can move a held-out pair from the middle of the ranking to the top, adding 0.5 to its AUC.
# If 2% of pairs are affected, a mode's AUC rises by at most 0.01: its interval's half-width at the paper's 2,377 users.
NEAR_DUPLICATE_BOUND = 0.02


@dg.asset_check(
    asset="catalogue",
    partitions_def=image_modes,
    additional_ins={"splits": dg.AssetIn("splits")},
    description="Few held-out items show a photograph that their user also trains on under another item.",
)
def few_near_duplicates_cross_the_split(storage: Storage, catalogue: pa.Table, splits: pa.Table) -> dg.AssetCheckResult:
    """Count held-out pairs whose item shares a cluster of near-duplicates with another of the user's training items."""
    path = storage.tables / "near_duplicates.parquet"
    if not path.is_file():
        return _warning(True, skipped="near_duplicates has not been materialised: nothing to compare")
    known = pq.read_table(path, columns=["sha256", "cluster"])
    row = pc.index_in(catalogue["sha256"], value_set=known["sha256"].combine_chunks())
    cluster = known["cluster"].combine_chunks().take(row.combine_chunks())
    shown = pa.table({"item": catalogue["item"], "cluster": cluster}).filter(pc.is_valid(cluster))
    shown = shown.group_by(["item", "cluster"]).aggregate([])
    train = pc.equal(splits["split"], "train")
    keys = ["user", "item"]
    trained = splits.filter(train).select(keys).join(shown, "item", join_type="inner")
    held_out = splits.filter(pc.invert(train)).select(keys)
    held_out_clusters = held_out.join(shown, "item", join_type="inner")
    shared = held_out_clusters.join(trained, ["user", "cluster"], join_type="inner", right_suffix="_trained")
    shared = shared.filter(pc.not_equal(shared["item"], shared["item_trained"]))
    given_away = shared.group_by(keys).aggregate([]).num_rows
    share = given_away / max(1, held_out.num_rows)
    return _warning(
        share <= NEAR_DUPLICATE_BOUND,
        held_out_pairs=held_out.num_rows,
        given_away=given_away,
        share=round(share, 5),
        expected_at_most=NEAR_DUPLICATE_BOUND,
        pictures_not_compared=row.null_count,
    )


def _warning(passed: bool, **seen: object) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.WARN, metadata=seen)  # ty: ignore
