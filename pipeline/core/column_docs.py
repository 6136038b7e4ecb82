"""Document each column of each table, for Dagster's column schemas and docs/reference.md.

The texts must not move into the schemas' field metadata: that is part of a table's content, so a better wording would
retrain everything.
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from pipeline.core import schemas

# Columns with the same meaning in every table; OF_TABLE overrides them where a table differs.
EVERYWHERE: Mapping[str, str] = {
    "user": "the user's number, as in users",
    "item": "the item's number, as in items",
    "asin": "the product's id in the shop",
    "reviewer_id": "the reviewer's id in the shop",
    "review_id": "hash of the review's line, with a running number if the file repeats that line",
    "bank_row": "row of the picture bank",
    "sha256": "SHA-256 of the picture's bytes, its key in the picture store",
    "source": "who made the picture: vendor or customer",
    "position": "position among the pictures of its product or review, from 0",
    "split": "train, validation or test",
    "paired": "whether the user's hold-outs are the same in all image modes",
    "garment_class": "one of the garment classes",
}

_DESIGN_SEARCH = {
    "start": "number of the search's start, from 0",
    "z": "the latent",
}

OF_TABLE: Mapping[str, Mapping[str, str]] = {
    "REVIEWS": {
        "rating": "stars, as given",
        "time": "unix seconds",
        "image_urls": "the customer's photos",
    },
    "PRODUCTS": {
        "title": "title in the shop; empty if the metadata has none",
        "categories": "the category path, the widest first",
        "vendor_urls": "the shop's pictures of 50 px height (imageURL)",
        "vendor_urls_high": "the shop's pictures in high resolution (imageURLHighRes)",
        "pictures_refused": "kind of the first picture address that cannot be used; null: none was refused",
        "garment_class": "class by the garment rules, from categories and title; null: none",
        "price": "price as a number, in the shop's currency; null: none that can be read",
        "attributes": "further columns of the product table by name ([attributes] in shop.toml); null: none",
    },
    "CUSTOMERS": {
        "attributes": "columns of the customer table by name ([customers.attributes] in shop.toml); null: none",
    },
    "REJECTS": {
        "file": "the raw file",
        "line": "number of the line, from 1",
        "offset": "byte offset of the line in the decompressed file",
        "reason": "why the line was rejected, or which limit it exceeds (docs/input-formats.md)",
        "text": "first 500 characters of the line",
    },
    "INTERACTIONS": {"time": "unix seconds of the user's first review of the item"},
    "USERS": {"user": "the user's number: dense, from 0, never reused"},
    "ITEMS": {"item": "the item's number: dense, from 0, never reused"},
    "IMAGE_URLS": {
        "item": "the item's number; null: a product outside the 5-core, fetched for the generator",
        "url": "address of the picture",
        "review_id": "review with the picture; customers' pictures only",
        "reviewer_id": "reviewer who took the picture; customers' pictures only",
    },
    "IMAGE_LEDGER": {
        "url": "address as it was given",
        "status": "ok, gone, transient (the next run tries again), invalid or blocked",
        "reason": "reason for the status, one of a fixed list",
        "http_status": "HTTP status of the last answer; null if there was none",
        "attempts": "requests for it in the run that decided its status",
        "sha256": "SHA-256 of the bytes; null unless ok",
        "format": "JPEG, PNG, ...; null unless ok",
        "width": "pixels",
        "height": "pixels",
        "bytes": "size of the file",
        "etag": "the server's ETag of this version",
        "fetched_at": "when the last attempt ended",
    },
    "PICTURES": {"bytes": "the file as fetched"},
    "BANK_INDEX": {},
    "NEAR_DUPLICATES": {
        "phash": "perceptual hash; null: the picture is blank and matches nothing",
        "cluster": "number shared by all pictures of one photograph; null: no near-duplicate",
        "cluster_items": "distinct items that show a picture of the cluster, or this picture if it has none",
    },
    "CATALOGUE": {
        "image": "the picture's number: dense in the mode, the row of phi",
        "review_id": "review with the picture; null for the shop's own",
        "user": "user who took the picture; null unless a 5-core user",
    },
    "SPLITS": {
        "sha256": "null: the pair is held out with all its pictures; else only this picture is held out",
        "time": "when the user first reviewed or bought the item, unix seconds; null if unknown",
    },
    "TRIPLETS": {
        "epoch": "epoch of the triplet, from 0",
        "positive": "a catalogue picture of an item that the user has touched",
        "negative": "catalogue pictures of items that the user has not touched",
    },
    "RECOMMENDER_EVALUATION": {
        "model": "model that ranked the items",
        "held": "number of the user's held-out items in the split; AUCs are means over them",
        "auc": "share of the untouched items that score below a held-out one; ties count a half",
        "auc_strict": "AUC with ties counted as losses",
        "auc_sampled100": "AUC as estimated by the original code, from 100 drawn items",
        "auc_picture": "AUC of pictures instead of items, mean over the item's pictures",
        "auc_category": "AUC among items of the same product type; null if no held-out item has a type and peers",
        "auc_warm": "AUC of the held-out items that another user has in train; null without one",
        "auc_cold": "AUC of the held-out items that no other user has in train; null without one",
        "auc_warm_seen": "auc_warm among the untouched items that somebody has in train",
        "auc_cold_unseen": "auc_cold among the untouched items that nobody has in train",
        "recall_at_10": "share of the held-out items among the first 10",
        "recall_at_50": "the same among the first 50",
        "hit_at_10": "1 if any held-out item is among the first 10, else 0",
        "hit_at_50": "the same among the first 50",
        "ndcg_at_10": "sum of 1 / log2(rank + 1) over held-out items among the first 10, divided by its maximum",
        "ndcg_at_50": "the same among the first 50",
        "ndcg_at_100": "the same among the first 100",
        "map_at_10": "sum of the precisions at the ranks of the hits, divided by the smaller of held and 10",
        "map_at_12": "the same for the first 12",
        "map_at_50": "the same for the first 50",
        "reciprocal_rank": "1 / rank of the first hit",
        "novelty_at_10": "how rare the ten recommended items are, in bits, mean over them",
    },
    "RECOMMENDATIONS": {"rank": "from 1", "score": "theta . item; comparable for one user only"},
    "RECOMMENDER_COMPARISON": {
        "mode": "image mode",
        "model": "model that ranked the items",
        "users": "number of users averaged over",
        "held_out": "number of held-out items of these users",
        "auc": "mean over users",
        "auc_low": "lower end of its 95 % bootstrap interval over users",
        "auc_high": "upper end of that interval",
        "difference_to_main": "AUC minus that of the mode's leading recommender, paired over users",
        "difference_low": "lower end of its 95 % interval",
        "difference_high": "upper end of that interval",
        "warm_auc": "AUC of held-out items that another user has in train",
        "warm_users": "number of users in warm_auc",
        "warm_among_seen": "the same, ranked among items that somebody has in train",
        "cold_auc": "AUC of held-out items that no other user has in train",
        "cold_users": "number of users in cold_auc",
        "cold_among_unseen": "the same, ranked among items that nobody has in train",
        "auc_category": "AUC within the held-out item's category; null if no item has one",
        "category_users": "number of users in auc_category",
        **{
            f"{name}_at_{k}": "mean over users"
            for name, ks in (("recall", (10, 50)), ("hit", (10, 50)), ("ndcg", (10, 50, 100)), ("map", (10, 12, 50)))
            for k in ks
        },
        **{
            f"ndcg_at_{k}_{end}": words
            for k in (10, 100)
            for end, words in (
                ("low", "lower end of its 95 % bootstrap interval over users"),
                ("high", "upper end of that interval"),
                ("difference", "minus that of the mode's leading recommender, paired over users"),
                ("difference_low", "lower end of its 95 % interval"),
                ("difference_high", "upper end of that interval"),
            )
        },
        "mrr": "mean of 1 / rank of the first hit",
        "novelty_at_10": "bits, mean over users",
        "coverage_at_10": "share of the catalogue that is among any user's ten recommendations",
        "gini_at_10": "Gini index of how often items are recommended: 0 all equally, 1 only one item",
        "paper_auc": "the paper's AUC (Table 3), if it has this row",
    },
    "GARMENTS": {
        "garment": "row of the pixels beside the table",
        "item": "the item's number; null outside the 5-core",
        "held_out": "whether it is kept from training, for the judge and the generator's evaluation",
    },
    "DESIGNS": {
        **_DESIGN_SEARCH,
        "item": "restyled products: the product that the search started from",
        "place": "rank among the designs of the user and class, 1 is best; the strip shows the best one",
        "score_before": "theta . Phi of the start",
        "score_after": "theta . Phi of the finished design",
        "realism_before": "the discriminator's output for the start, 1 is real",
        "realism_after": "the discriminator's output for the finished design",
        "approximation_l1": "restyled products: mean |pixel difference| to the product, 0 to 255",
        "gain_sd": "increase of the score, in standard deviations of the user's scores over the catalogue",
        "own_rank": "the user's rank among the judges, 1 is best, by scores standardised over the catalogue",
        "own_rank_in_class": "the same, standardised over the garments of the design's class",
        "judges": "number of users who rank the design, including its own user",
        "nearest_asin": "the shop's garment whose picture is nearest in L1",
        "nearest_l1": "mean |pixel difference| to it, 0 to 255",
        "strip": "picture file that shows the search",
    },
    "DESIGN_STEPS": {
        **_DESIGN_SEARCH,
        "step": "step of the search; 0 is the start",
        "score": "theta . Phi",
        "realism": "the discriminator's output, 1 is real",
        "objective": "value that the search maximises",
        "place": "place of the start's design in designs; null: it was not kept",
        "z": "the latent; only for shown steps of kept starts",
    },
}


def known() -> dict[str, pa.Schema]:
    """Return all schemas by their name in `schemas.py`; TRIPLETS has one negative."""
    constants = {name: value for name, value in vars(schemas).items() if isinstance(value, pa.Schema)}
    return {**constants, "TRIPLETS": schemas.triplets()}


def of(name: str) -> dict[str, str]:
    """Return the meaning of each column of a schema, given its name in `schemas.py`."""
    own = {**EVERYWHERE, **OF_TABLE.get(name, {})}
    return {column: own[column] for column in known()[name].names if column in own}


def of_columns(columns: Sequence[str]) -> dict[str, str]:
    """Return the meaning of each column of the schema with these columns; empty if there is none."""
    name = next((name for name, schema in known().items() if schema.names == list(columns)), None)
    return of(name) if name else {}
