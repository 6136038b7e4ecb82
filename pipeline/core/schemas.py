"""Define the pyarrow schema of every table. Stages may rely on these types and must produce them.

External ids are strings (reviewer_id, asin, sha256); internal ids are dense int32 (user, item, image, bank_row).
`column_docs.py` explains the columns.
"""

import pyarrow as pa

IMAGE_MODES = ("vendor_single", "vendor_all", "vendor_customer")
SOURCES = ("vendor", "customer")
SPLIT_NAMES = ("train", "validation", "test")

# All values of a picture's status and of its reason.
STATUSES = ("ok", "gone", "transient", "invalid", "blocked")
REASONS = (
    "ok",
    "http_404",  # gone: 404 or 410
    "http_4xx",  # gone: any other client error
    "http_5xx",  # transient: a server error on every retry
    "http_429",  # transient: asked to slow down on every retry
    "timeout",  # transient: connect, read or total time limit exceeded
    "connection",  # transient: refused, reset, name not resolved
    "truncated",  # transient: fewer bytes than announced
    "too_large",  # invalid: over the byte cap
    "not_a_picture",  # invalid: HTML, or bytes that do not decode
    "unsupported_format",  # invalid: a picture or video of a known format that is not read (SVG, ...)
    "too_costly",  # invalid: decoding it takes more time or memory than allowed
    "too_small",  # invalid: under 16 x 16, which catches 1x1 placeholders
    "too_many_pixels",  # invalid: decompression bomb
    "placeholder",  # invalid: the same content for many items
    "bad_url",  # invalid: not http(s), relative, data:, credentials inside
    "too_many_redirects",  # gone
    "private_address",  # blocked: a loopback, private, link-local or metadata address
    "robots",  # blocked: X-Robots-Tag noai / noimageai
    "file_missing",  # gone: no such file on this machine or object in its store, or no such member in the archive
    "file_unreadable",  # transient: a file or an object that may not be read, or a damaged archive
    "outside_folders",  # blocked: a file or an object outside the folders of the tables and those of shop.toml
)

REVIEWS = pa.schema(
    [
        pa.field("reviewer_id", pa.string(), nullable=False),
        pa.field("asin", pa.string(), nullable=False),
        ("rating", pa.float32()),
        ("time", pa.int64()),
        pa.field("image_urls", pa.list_(pa.string()), nullable=False),
        pa.field("review_id", pa.string(), nullable=False),
    ]
)

PRODUCTS = pa.schema(
    [
        pa.field("asin", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("categories", pa.list_(pa.string()), nullable=False),
        pa.field("vendor_urls", pa.list_(pa.string()), nullable=False),
        pa.field("vendor_urls_high", pa.list_(pa.string()), nullable=False),
        ("pictures_refused", pa.string()),
        ("garment_class", pa.string()),
        ("price", pa.float64()),
        ("attributes", pa.map_(pa.string(), pa.string())),
    ]
)
# What nothing is made from yet, and what may change daily (a stock): left out of the version of the table.
KEPT_OF_PRODUCTS = ("price", "attributes")

CUSTOMERS = pa.schema(
    [
        pa.field("reviewer_id", pa.string(), nullable=False),
        ("attributes", pa.map_(pa.string(), pa.string())),
    ]
)

REJECTS = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        ("offset", pa.int64()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)

INTERACTIONS = pa.schema(
    [
        pa.field("user", pa.int32(), nullable=False),
        pa.field("item", pa.int32(), nullable=False),
        ("time", pa.int64()),
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
        ("item", pa.int32()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("position", pa.int16(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        ("review_id", pa.string()),
        ("reviewer_id", pa.string()),
    ]
)

IMAGE_LEDGER = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        ("http_status", pa.int16()),
        pa.field("attempts", pa.int16(), nullable=False),
        ("sha256", pa.string()),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bytes", pa.int32()),
        ("etag", pa.string()),
        pa.field("fetched_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)

# A shard of the picture store: the original bytes, each content once.
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
        ("phash", pa.uint64()),
        ("cluster", pa.int32()),
        pa.field("cluster_items", pa.int32(), nullable=False),
    ]
)

CATALOGUE = pa.schema(
    [
        pa.field("image", pa.int32(), nullable=False),
        pa.field("bank_row", pa.int32(), nullable=False),
        pa.field("item", pa.int32(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("position", pa.int16(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        ("review_id", pa.string()),
        ("user", pa.int32()),
    ]
)

SPLITS = pa.schema(
    [
        pa.field("user", pa.int32(), nullable=False),
        pa.field("item", pa.int32(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("paired", pa.bool_(), nullable=False),
        ("sha256", pa.string()),
        ("time", pa.int64()),
    ]
)


def triplets(negatives: int = 1) -> pa.Schema:
    """Return the schema of the triplets with `negatives` negative images per row."""
    return pa.schema(
        [
            pa.field("epoch", pa.int16(), nullable=False),
            pa.field("user", pa.int32(), nullable=False),
            pa.field("positive", pa.int32(), nullable=False),
            pa.field("negative", pa.list_(pa.int32(), negatives), nullable=False),
        ]
    )


# One row per (user, model, held-out split); metrics are of the user's held-out items in that split.
RECOMMENDER_EVALUATION = pa.schema(
    [
        pa.field("user", pa.int32(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("paired", pa.bool_(), nullable=False),
        pa.field("held", pa.int32(), nullable=False),
        pa.field("auc", pa.float32(), nullable=False),
        pa.field("auc_strict", pa.float32(), nullable=False),
        pa.field("auc_sampled100", pa.float32(), nullable=False),
        pa.field("auc_picture", pa.float32(), nullable=False),
        ("auc_category", pa.float32()),
        ("auc_warm", pa.float32()),
        ("auc_cold", pa.float32()),
        ("auc_warm_seen", pa.float32()),
        ("auc_cold_unseen", pa.float32()),
        pa.field("recall_at_10", pa.float32(), nullable=False),
        pa.field("recall_at_50", pa.float32(), nullable=False),
        pa.field("hit_at_10", pa.float32(), nullable=False),
        pa.field("hit_at_50", pa.float32(), nullable=False),
        pa.field("ndcg_at_10", pa.float32(), nullable=False),
        pa.field("ndcg_at_50", pa.float32(), nullable=False),
        pa.field("ndcg_at_100", pa.float32(), nullable=False),
        pa.field("map_at_10", pa.float32(), nullable=False),
        pa.field("map_at_12", pa.float32(), nullable=False),
        pa.field("map_at_50", pa.float32(), nullable=False),
        pa.field("reciprocal_rank", pa.float32(), nullable=False),
        pa.field("novelty_at_10", pa.float32(), nullable=False),
    ]
)

RECOMMENDATIONS = pa.schema(
    [
        pa.field("user", pa.int32(), nullable=False),
        pa.field("rank", pa.int16(), nullable=False),
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
        ("held_out", pa.int64()),
        pa.field("auc", pa.float64(), nullable=False),
        pa.field("auc_low", pa.float64(), nullable=False),
        pa.field("auc_high", pa.float64(), nullable=False),
        ("difference_to_main", pa.float64()),
        ("difference_low", pa.float64()),
        ("difference_high", pa.float64()),
        ("warm_auc", pa.float64()),
        ("warm_users", pa.int32()),
        ("warm_among_seen", pa.float64()),
        ("cold_auc", pa.float64()),
        ("cold_users", pa.int32()),
        ("cold_among_unseen", pa.float64()),
        ("auc_category", pa.float64()),
        ("category_users", pa.int32()),
        ("recall_at_10", pa.float64()),
        ("recall_at_50", pa.float64()),
        ("hit_at_10", pa.float64()),
        ("hit_at_50", pa.float64()),
        ("ndcg_at_10", pa.float64()),
        ("ndcg_at_10_low", pa.float64()),
        ("ndcg_at_10_high", pa.float64()),
        ("ndcg_at_10_difference", pa.float64()),
        ("ndcg_at_10_difference_low", pa.float64()),
        ("ndcg_at_10_difference_high", pa.float64()),
        ("ndcg_at_50", pa.float64()),
        ("ndcg_at_100", pa.float64()),
        ("ndcg_at_100_low", pa.float64()),
        ("ndcg_at_100_high", pa.float64()),
        ("ndcg_at_100_difference", pa.float64()),
        ("ndcg_at_100_difference_low", pa.float64()),
        ("ndcg_at_100_difference_high", pa.float64()),
        ("map_at_10", pa.float64()),
        ("map_at_12", pa.float64()),
        ("map_at_50", pa.float64()),
        ("mrr", pa.float64()),
        ("novelty_at_10", pa.float64()),
        ("coverage_at_10", pa.float64()),
        ("gini_at_10", pa.float64()),
        ("paper_auc", pa.float64()),
    ]
)

# The class-labelled pictures of the generator; pictures.npy beside the table has their pixels, row by row.
GARMENTS = pa.schema(
    [
        pa.field("garment", pa.int32(), nullable=False),
        pa.field("asin", pa.string(), nullable=False),
        ("item", pa.int32()),
        pa.field("garment_class", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("held_out", pa.bool_(), nullable=False),
    ]
)

# One row per kept design; its picture and strip are in the file `strip` beside the table.
DESIGNS = pa.schema(
    [
        pa.field("user", pa.int32(), nullable=False),
        pa.field("garment_class", pa.string(), nullable=False),
        ("item", pa.int32()),
        pa.field("place", pa.int16(), nullable=False),
        pa.field("start", pa.int16(), nullable=False),
        pa.field("score_before", pa.float32(), nullable=False),
        pa.field("score_after", pa.float32(), nullable=False),
        pa.field("realism_before", pa.float32(), nullable=False),
        pa.field("realism_after", pa.float32(), nullable=False),
        ("approximation_l1", pa.float32()),
        pa.field("gain_sd", pa.float32(), nullable=False),
        pa.field("own_rank", pa.int16(), nullable=False),
        pa.field("own_rank_in_class", pa.int16(), nullable=False),
        pa.field("judges", pa.int16(), nullable=False),
        ("nearest_asin", pa.string()),
        ("nearest_l1", pa.float32()),
        pa.field("z", pa.list_(pa.float32()), nullable=False),
        pa.field("strip", pa.string(), nullable=False),
    ]
)

# One row per step of every start of the search.
DESIGN_STEPS = pa.schema(
    [
        pa.field("user", pa.int32(), nullable=False),
        pa.field("garment_class", pa.string(), nullable=False),
        pa.field("start", pa.int16(), nullable=False),
        pa.field("step", pa.int16(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("realism", pa.float32(), nullable=False),
        pa.field("objective", pa.float32(), nullable=False),
        ("place", pa.int16()),
        ("z", pa.list_(pa.float32())),
    ]
)
