"""Small random shops for the property tests of the split, the catalogue and the triplets."""

from datetime import UTC, datetime

import pyarrow as pa
from hypothesis import strategies as st

from pipeline.core import schemas
from pipeline.core.dataset import survivors
from pipeline.core.errors import InputError

USERS = ("u0", "u1", "u2", "u3")
ITEMS = ("i0", "i1", "i2", "i3", "i4", "i5")
CONTENTS = "abcdefgh"
SECONDS = st.none() | st.integers(0, 5)


def users_table():
    return pa.table([pa.array(range(len(USERS)), pa.int32()), list(USERS)], schema=schemas.USERS)


def items_table():
    return pa.table([pa.array(range(len(ITEMS)), pa.int32()), list(ITEMS)], schema=schemas.ITEMS)


def shop(pairs, vendor, customer, k=2):
    """Build {mode: Surviving}: pairs (user, item, time), vendor (item, content), customer (reviewer, item, content)."""
    columns = zip(*pairs, strict=True)
    types = (pa.int32(), pa.int32(), pa.int64())
    interactions = pa.table([pa.array(c, t) for c, t in zip(columns, types, strict=True)], schema=schemas.INTERACTIONS)
    rows, ledger = [], []
    for source, several in (("vendor", [(None, i, c) for i, c in vendor]), ("customer", customer)):
        for n, (reviewer, item, content) in enumerate(several):
            url = f"{source}{n}"
            rows.append({"asin": ITEMS[item], "item": item, "source": source, "position": n, "url": url,
                         "review_id": reviewer and f"{reviewer}/{item}", "reviewer_id": reviewer})  # fmt: skip
            ledger.append({"url": url, "status": "ok", "reason": "ok", "attempts": 1, "sha256": content,
                           "fetched_at": datetime(2020, 1, 1, tzinfo=UTC)})  # fmt: skip
    urls = pa.Table.from_pylist(rows, schema=schemas.IMAGE_URLS)
    table = pa.Table.from_pylist(ledger, schema=schemas.IMAGE_LEDGER)
    found = {}
    for mode in schemas.IMAGE_MODES:
        try:
            found[mode] = survivors.surviving(interactions, urls, table, mode, k)
        except InputError:
            continue
    return found


def bank():
    return pa.table([pa.array(range(len(CONTENTS)), pa.int32()), list(CONTENTS)[::-1]], schema=schemas.BANK_INDEX)


@st.composite
def shops(draw, times=SECONDS, least_pairs=6):
    """Draw a shop in which at least one mode survives; strangers add photos too, and contents repeat."""
    user, item = st.integers(0, len(USERS) - 1), st.integers(0, len(ITEMS) - 1)
    pairs = draw(st.lists(st.tuples(user, item), min_size=least_pairs, max_size=24, unique=True))
    timed = [(u, i, draw(times)) for u, i in pairs]
    content = st.sampled_from(CONTENTS)
    vendor = draw(st.lists(st.tuples(item, content), min_size=2, max_size=8))
    shots = draw(st.lists(st.tuples(st.sampled_from([*pairs, *[(9, i) for i in range(6)]]), content), max_size=12))
    customer = [(USERS[u] if u < len(USERS) else "stranger", i, c) for (u, i), c in shots]
    return shop(timed, vendor, customer)
