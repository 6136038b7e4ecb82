"""The contract of every table: one pyarrow schema each, and nothing else.

Ids are strings outside (reviewer_id, asin, sha256) and dense int32 inside (user, item, image,
bank_row). A stage may rely on these types and must produce them; how a table is computed, stored
or shown belongs to the stage, the io manager and `metadata.py`.
"""

import pyarrow as pa

IMAGE_MODES = ("vendor_single", "vendor_all", "vendor_customer")
SOURCES = ("vendor", "customer")
SPLIT_NAMES = ("train", "validation", "test")

# Closed lists: a picture's status and the reason behind it (`core/fetch.py` decides which).
STATUSES = ("ok", "gone", "transient", "invalid", "blocked")
REASONS = (
    "ok",
    "http_404",  # gone: 404 or 410
    "http_4xx",  # gone: any other client error
    "http_5xx",  # transient: a server error that outlived the retries
    "http_429",  # transient: told to slow down until the retries ran out
    "timeout",  # transient: connect, read or total limit passed
    "connection",  # transient: refused, reset, name not resolved
    "truncated",  # transient: fewer bytes than announced
    "too_large",  # invalid: over the byte cap
    "not_a_picture",  # invalid: HTML, or bytes that do not decode
    "too_small",  # invalid: under 16 x 16, which catches 1x1 placeholders
    "too_many_pixels",  # invalid: decompression bomb
    "placeholder",  # invalid: one content behind many items
    "bad_url",  # invalid: not http(s), relative, data:, credentials inside
    "too_many_redirects",  # gone
    "private_address",  # blocked: a loopback, private, link-local or metadata address
    "robots",  # blocked: X-Robots-Tag noai / noimageai
)

REVIEWS = pa.schema(
    [
        pa.field("reviewer_id", pa.string(), nullable=False),
        pa.field("asin", pa.string(), nullable=False),
        ("rating", pa.float32()),
        ("time", pa.int64()),  # unix seconds
        pa.field("image_urls", pa.list_(pa.string()), nullable=False),  # the customer's photos
        pa.field("review_id", pa.string(), nullable=False),  # hash of (canonical line, occurrence in its file)
    ]
)

PRODUCTS = pa.schema(
    [
        pa.field("asin", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),  # "" where the metadata has none
        pa.field("categories", pa.list_(pa.string()), nullable=False),
        pa.field("vendor_urls", pa.list_(pa.string()), nullable=False),  # imageURL, 50 px high
        pa.field("vendor_urls_high", pa.list_(pa.string()), nullable=False),  # imageURLHighRes
        ("garment_class", pa.string()),  # one of the classes that the table carries (garment_classes.py), or null
    ]
)

REJECTS = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),  # 1-based
        ("offset", pa.int64()),  # byte offset in the decompressed file
        pa.field("reason", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),  # the first 500 characters
    ]
)

INTERACTIONS = pa.schema(
    [
        pa.field("user", pa.int32(), nullable=False),
        pa.field("item", pa.int32(), nullable=False),
        ("time", pa.int64()),  # of the user's first review of the item
    ]
)

USERS = pa.schema(
    [
        pa.field("user", pa.int32(), nullable=False),
        pa.field("reviewer_id", pa.string(), nullable=False),
    ]
)

ITEMS = pa.schema(
    [
        pa.field("item", pa.int32(), nullable=False),
        pa.field("asin", pa.string(), nullable=False),
    ]
)

IMAGE_URLS = pa.schema(
    [
        pa.field("asin", pa.string(), nullable=False),
        ("item", pa.int32()),  # null: a product outside the 5-core, fetched for the generator
        pa.field("source", pa.string(), nullable=False),
        pa.field("position", pa.int16(), nullable=False),  # order within the product or the review
        pa.field("url", pa.string(), nullable=False),
        ("review_id", pa.string()),  # customer pictures only
        ("reviewer_id", pa.string()),  # customer pictures only
    ]
)

IMAGE_LEDGER = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        ("http_status", pa.int16()),
        pa.field("attempts", pa.int16(), nullable=False),
        ("sha256", pa.string()),  # of the bytes; null unless ok
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bytes", pa.int32()),
        ("etag", pa.string()),
        pa.field("fetched_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)

# A shard of the picture store: the original bytes, once by content.
PICTURES = pa.schema(
    [
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("bytes", pa.large_binary(), nullable=False),
    ]
)

BANK_INDEX = pa.schema(
    [
        pa.field("bank_row", pa.int32(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
    ]
)

NEAR_DUPLICATES = pa.schema(
    [
        pa.field("bank_row", pa.int32(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        ("phash", pa.uint64()),  # null: a blank picture, like nothing
        ("cluster", pa.int32()),  # null: like no other picture
        pa.field("cluster_items", pa.int32(), nullable=False),  # distinct items behind its cluster, or itself if alone
    ]
)

CATALOGUE = pa.schema(
    [
        pa.field("image", pa.int32(), nullable=False),  # dense in the mode: the row of phi
        pa.field("bank_row", pa.int32(), nullable=False),
        pa.field("item", pa.int32(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("position", pa.int16(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        ("review_id", pa.string()),
        ("user", pa.int32()),  # who photographed it, where that is a 5-core user
    ]
)

SPLITS = pa.schema(
    [
        pa.field("user", pa.int32(), nullable=False),
        pa.field("item", pa.int32(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("paired", pa.bool_(), nullable=False),  # the user's hold-outs are the same in all modes
        ("sha256", pa.string()),  # null: the pair with all its pictures; else this picture of it alone is held out
    ]
)


def triplets(negatives: int = 1) -> pa.Schema:
    """The triplet table with `negatives` negative images a row."""
    return pa.schema(
        [
            pa.field("epoch", pa.int16(), nullable=False),
            pa.field("user", pa.int32(), nullable=False),
            pa.field("positive", pa.int32(), nullable=False),  # image of the mode
            pa.field("negative", pa.list_(pa.int32(), negatives), nullable=False),
        ]
    )


# One row a (user, model, held-out split); metrics are of that user's one held-out item.
RECOMMENDER_EVALUATION = pa.schema(
    [
        pa.field("user", pa.int32(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("item", pa.int32(), nullable=False),
        pa.field("cold", pa.bool_(), nullable=False),  # nobody else touches the item in train
        pa.field("paired", pa.bool_(), nullable=False),
        pa.field("auc", pa.float32(), nullable=False),
        pa.field("auc_strict", pa.float32(), nullable=False),
        pa.field("auc_sampled100", pa.float32(), nullable=False),
        pa.field("auc_picture", pa.float32(), nullable=False),
        ("auc_category", pa.float32()),  # null where the item has no category, or no other item of it is a candidate
        pa.field("recall_at_10", pa.float32(), nullable=False),  # with one held-out item, the hit rate as well
        pa.field("recall_at_50", pa.float32(), nullable=False),
        pa.field("ndcg_at_10", pa.float32(), nullable=False),
        pa.field("ndcg_at_50", pa.float32(), nullable=False),
        pa.field("reciprocal_rank", pa.float32(), nullable=False),
        pa.field("novelty_at_10", pa.float32(), nullable=False),  # bits, of the ten recommended
    ]
)

RECOMMENDATIONS = pa.schema(
    [
        pa.field("user", pa.int32(), nullable=False),
        pa.field("rank", pa.int16(), nullable=False),  # from 1
        pa.field("item", pa.int32(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
    ]
)

RECOMMENDER_COMPARISON = pa.schema(
    [
        pa.field("mode", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("users", pa.int32(), nullable=False),
        pa.field("auc", pa.float64(), nullable=False),
        pa.field("auc_low", pa.float64(), nullable=False),  # 95 % bootstrap interval over users
        pa.field("auc_high", pa.float64(), nullable=False),
        ("difference_to_dvbpr", pa.float64()),  # paired over users, model minus the mode's recommender
        ("difference_low", pa.float64()),
        ("difference_high", pa.float64()),
        ("warm_auc", pa.float64()),
        ("cold_auc", pa.float64()),
        ("cold_users", pa.int32()),
        ("auc_category", pa.float64()),  # within the held-out item's own category; null where none has one
        ("category_users", pa.int32()),  # who have it
        ("recall_at_10", pa.float64()),  # and hit rate
        ("recall_at_50", pa.float64()),
        ("ndcg_at_10", pa.float64()),
        ("ndcg_at_50", pa.float64()),
        ("mrr", pa.float64()),
        ("novelty_at_10", pa.float64()),
        ("coverage_at_10", pa.float64()),  # share of the catalogue that is in somebody's ten
        ("gini_at_10", pa.float64()),  # how unevenly: 0 all items alike, 1 one item alone
        ("paper_auc", pa.float64()),  # NAF Table 3, where it has the row
    ]
)

# The class-labelled pictures of the generator; the pixels lie beside it in pictures.npy, row by row.
GARMENTS = pa.schema(
    [
        pa.field("garment", pa.int32(), nullable=False),  # row of pictures.npy
        pa.field("asin", pa.string(), nullable=False),
        ("item", pa.int32()),
        pa.field("garment_class", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("held_out", pa.bool_(), nullable=False),  # kept from the generator, for its evaluation
    ]
)

# One row a finished design that is kept; its picture and strip lie beside the table under `strip`.
DESIGNS = pa.schema(
    [
        pa.field("user", pa.int32(), nullable=False),
        pa.field("garment_class", pa.string(), nullable=False),
        ("item", pa.int32()),  # restyled products: the product started from
        pa.field("place", pa.int16(), nullable=False),  # 1 for the best of the user and class; the strip shows that one
        pa.field("start", pa.int16(), nullable=False),
        pa.field("score_before", pa.float32(), nullable=False),
        pa.field("score_after", pa.float32(), nullable=False),
        pa.field("realism_before", pa.float32(), nullable=False),
        pa.field("realism_after", pa.float32(), nullable=False),
        ("approximation_l1", pa.float32()),  # restyled products: mean |pixel difference|, 0-255
        pa.field(
            "gain_sd", pa.float32(), nullable=False
        ),  # what the score rose by, in the user's sd over the catalogue
        # Of the user among the judges, 1 is best: by scores standardised over the catalogue, and over the garments of
        # the design's own class, which asks about taste within it.
        pa.field("own_rank", pa.int16(), nullable=False),
        pa.field("own_rank_in_class", pa.int16(), nullable=False),
        pa.field("judges", pa.int16(), nullable=False),
        ("nearest_asin", pa.string()),  # the garment of the shop whose picture is nearest in L1
        ("nearest_l1", pa.float32()),  # mean |pixel difference|, 0-255
        pa.field("z", pa.list_(pa.float32()), nullable=False),
        pa.field("strip", pa.string(), nullable=False),  # file name
    ]
)

# Every step of every start: what the search went through.
DESIGN_STEPS = pa.schema(
    [
        pa.field("user", pa.int32(), nullable=False),
        pa.field("garment_class", pa.string(), nullable=False),
        pa.field("start", pa.int16(), nullable=False),
        pa.field("step", pa.int16(), nullable=False),  # 0 is the start
        pa.field("score", pa.float32(), nullable=False),
        pa.field("realism", pa.float32(), nullable=False),
        pa.field("objective", pa.float32(), nullable=False),  # what was climbed
        ("place", pa.int16()),  # of the start in DESIGNS; null: its design was not kept
        ("z", pa.list_(pa.float32())),  # of the kept starts' shown steps
    ]
)
