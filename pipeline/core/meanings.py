"""What each column of each table means, in a few words: shown in Dagster's column schemas and in docs/reference.md.

Types are `schemas.py`'s. Words beside the schemas, not in a field's metadata: that would be part of a table's content,
and a better word would train everything again.
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from pipeline.core import schemas

# Columns that mean the same wherever they stand; a table below says otherwise where it differs.
EVERYWHERE: Mapping[str, str] = {
    "user": "the user's number, as in users",
    "item": "the item's number, as in items",
    "asin": "the product's id in the shop",
    "reviewer_id": "the reviewer's id in the shop",
    "review_id": "hash of the review's line and of how often the file had that line before",
    "bank_row": "row of the picture bank",
    "sha256": "of the picture's bytes: its name in the picture store",
    "source": "who made the picture: vendor or customer",
    "position": "place among the pictures of its product or review, from 0",
    "split": "train, validation or test",
    "paired": "whether the user's hold-outs are the same in all image modes",
    "garment_class": "one of the garment classes",
}

_DESIGN_SEARCH = {
    "start": "which of the search's starts, from 0",
    "z": "the latent",
}

OF_TABLE: Mapping[str, Mapping[str, str]] = {
    "REVIEWS": {
        "rating": "stars, as given",
        "time": "unix seconds",
        "image_urls": "the customer's photos",
    },
    "PRODUCTS": {
        "title": "as the shop writes it; empty where the metadata has none",
        "categories": "the category path, the widest first",
        "vendor_urls": "the shop's pictures, imageURL, 50 px high",
        "vendor_urls_high": "the same in imageURLHighRes",
        "garment_class": "the class that the garment rules read from categories and title; null: none",
    },
    "REJECTS": {
        "file": "the raw file",
        "line": "its line, from 1",
        "offset": "byte offset of the line in the decompressed file",
        "reason": "why it was not read, or which bound it was over (docs/operations.md)",
        "text": "its first 500 characters",
    },
    "INTERACTIONS": {"time": "unix seconds of the user's first review of the item"},
    "USERS": {"user": "the user's number: dense, from 0, never given again"},
    "ITEMS": {"item": "the item's number: dense, from 0, never given again"},
    "IMAGE_URLS": {
        "item": "the item's number; null: a product outside the 5-core, fetched for the generator",
        "url": "where the picture is fetched",
        "review_id": "of the review that shows it; customers' pictures only",
        "reviewer_id": "who photographed it; customers' pictures only",
    },
    "IMAGE_LEDGER": {
        "url": "as asked for",
        "status": "ok, gone, transient (asked again by the next run), invalid or blocked",
        "reason": "why, one of a closed list",
        "http_status": "of the last answer; null where there was none",
        "attempts": "requests made for it in the run that settled it",
        "sha256": "of the bytes; null unless ok",
        "format": "JPEG, PNG, ...; null unless ok",
        "width": "pixels",
        "height": "pixels",
        "bytes": "size of the file",
        "etag": "what the server calls this version",
        "fetched_at": "when the last attempt ended",
    },
    "PICTURES": {"bytes": "the file as it was fetched"},
    "BANK_INDEX": {},
    "NEAR_DUPLICATES": {
        "phash": "perceptual hash; null: a blank picture, like nothing",
        "cluster": "pictures of one photograph have one number; null: like no other picture",
        "cluster_items": "distinct items behind its cluster, or behind itself if alone",
    },
    "CATALOGUE": {
        "image": "the picture's number: dense in the mode, the row of phi",
        "review_id": "of the review that shows it; null for the shop's own",
        "user": "who photographed it, where that is a 5-core user",
    },
    "SPLITS": {"sha256": "null: the pair is held out with all its pictures; else this picture of it alone"},
    "TRIPLETS": {
        "epoch": "the epoch that it is for, from 0",
        "positive": "a picture (of the catalogue) of something the user has",
        "negative": "pictures of things the user does not have",
    },
    "RECOMMENDER_EVALUATION": {
        "model": "whose ranking",
        "item": "the held-out item",
        "cold": "whether nobody else has the item in train",
        "auc": "share of the untouched items that score below the held-out one, ties a half",
        "auc_strict": "the same, a tie wins nothing",
        "auc_sampled100": "the original code's estimate, of 100 drawn items",
        "auc_picture": "pictures ranked in place of items, mean over the item's pictures",
        "auc_category": "among items of the same product type; null where the item has none, or is alone in it",
        "recall_at_10": "1 where the held-out item is among the first 10: the hit rate as well",
        "recall_at_50": "the same of the first 50",
        "ndcg_at_10": "1 / log2(rank + 1) within the first 10, else 0",
        "ndcg_at_50": "the same of the first 50",
        "reciprocal_rank": "1 / rank",
        "novelty_at_10": "bits, mean over the ten recommended: how few have them",
    },
    "RECOMMENDATIONS": {"rank": "from 1", "score": "theta . item; comparable for one user only"},
    "RECOMMENDER_COMPARISON": {
        "mode": "image mode",
        "model": "whose ranking",
        "users": "over whom the means are",
        "auc": "mean over users",
        "auc_low": "lower end of its 95 % bootstrap interval over users",
        "auc_high": "upper end",
        "difference_to_dvbpr": "paired over users, model minus the mode's recommender",
        "difference_low": "lower end of its 95 % interval",
        "difference_high": "upper end",
        "warm_auc": "of users whose held-out item somebody else has in train",
        "cold_auc": "of those whose held-out item nobody else has",
        "cold_users": "how many those are",
        "auc_category": "within the held-out item's own category; null where none has one",
        "category_users": "over how many users that is",
        "recall_at_10": "and hit rate",
        "recall_at_50": "and hit rate",
        "ndcg_at_10": "mean over users",
        "ndcg_at_50": "mean over users",
        "mrr": "mean of 1 / rank",
        "novelty_at_10": "bits, mean over users",
        "coverage_at_10": "share of the catalogue that is in somebody's ten",
        "gini_at_10": "how unevenly: 0 all items alike, 1 one item alone",
        "paper_auc": "Table 3's figure, where it has the row",
    },
    "GARMENTS": {
        "garment": "row of the pixels beside the table",
        "item": "the item's number; null outside the 5-core",
        "held_out": "kept from the generator, for its evaluation",
    },
    "DESIGNS": {
        **_DESIGN_SEARCH,
        "item": "restyled products: the product started from",
        "place": "1 for the best of the user and class; the strip shows that one",
        "score_before": "theta . Phi of the start",
        "score_after": "theta . Phi of the finished design",
        "realism_before": "the discriminator's opinion of the start, 1 is real",
        "realism_after": "its opinion of the finished design",
        "approximation_l1": "restyled products: mean |pixel difference| to the product, 0 to 255",
        "gain_sd": "what the score rose by, in the user's standard deviations over the catalogue",
        "own_rank": "of the user among the judges, 1 is best, by scores standardised over the catalogue",
        "own_rank_in_class": "the same, standardised over the garments of the design's class",
        "judges": "how many people judged",
        "nearest_asin": "the shop's garment whose picture is nearest in L1",
        "nearest_l1": "mean |pixel difference| to it, 0 to 255",
        "strip": "file that shows the search",
    },
    "DESIGN_STEPS": {
        **_DESIGN_SEARCH,
        "step": "of the search; 0 is the start",
        "score": "theta . Phi",
        "realism": "the discriminator's opinion, 1 is real",
        "objective": "what was climbed",
        "place": "of the start in designs; null: its design was not kept",
        "z": "the latent, of the kept starts' shown steps",
    },
}


def known() -> dict[str, pa.Schema]:
    """Every schema of `schemas.py` by its name, the triplets' with one negative."""
    found = {name: value for name, value in vars(schemas).items() if isinstance(value, pa.Schema)}
    return {**found, "TRIPLETS": schemas.triplets()}


def of(name: str) -> dict[str, str]:
    """Column -> meaning of a schema, by its name in `schemas.py`."""
    own = {**EVERYWHERE, **OF_TABLE.get(name, {})}
    return {column: own[column] for column in known()[name].names if column in own}


def of_columns(columns: Sequence[str]) -> dict[str, str]:
    """The same for the table that has these columns; empty where there is none."""
    found = next((name for name, schema in known().items() if schema.names == list(columns)), None)
    return of(found) if found else {}
