"""Count purchases of something already owned: reviews after a cut in time of a pair that is trained on.

INTERACTIONS keeps the first time of a pair, so these purchases are in no split. They are counted in REVIEWS, apart.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.dataset.hold_out.pairs import among, codes
from pipeline.core.tables import StoredTable

DAY = 86_400  # seconds


def bought_again(reviews: StoredTable, splits: pa.Table, users: pa.Table, items: pa.Table) -> dict[str, Any]:
    """Count the purchases from the first test day on, by the users of SPLITS, and those of a pair in their train.

    Args:
        reviews: REVIEWS, of which one purchase is a row.
        splits: SPLITS of hold-out time.
        users: the global USERS.
        items: the global ITEMS.

    Returns:
        `from`, unix seconds; `purchases`; `again`, the number of them that repeat a train pair, `pairs`, the number of
        distinct pairs repeated; `share`, again / purchases (None without purchases).
    """
    train = splits.filter(pc.equal(splits["split"], "train"))
    test = splits.filter(pc.equal(splits["split"], "test"))
    begin = pc.min(test["time"]).as_py() // DAY * DAY
    found = reviews.read(["reviewer_id", "asin", "time"], pc.field("time") >= begin)
    user = pc.index_in(found["reviewer_id"], value_set=users["reviewer_id"].combine_chunks()).fill_null(-1)
    item = pc.index_in(found["asin"], value_set=items["asin"].combine_chunks()).fill_null(-1)
    user, item = _ids(users["user"], user), _ids(items["item"], item)
    known = among(user, pc.unique(train["user"]).to_numpy())
    bought = codes(user[known], item[known])
    again = bought[among(bought, codes(train["user"].to_numpy(), train["item"].to_numpy()))]
    return {
        "from": begin,
        "purchases": len(bought),
        "again": len(again),
        "pairs": len(np.unique(again)),
        "share": round(len(again) / len(bought), 4) if len(bought) else None,
    }


def _ids(column: pa.ChunkedArray, rows: pa.ChunkedArray) -> np.ndarray:
    """Return the ids at these rows of a column, -1 for row -1: int32 [rows]."""
    return np.append(column.to_numpy(), np.int32(-1))[rows.to_numpy()]
