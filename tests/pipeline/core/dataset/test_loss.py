"""Every item of the 5-core is pictured, or lost for exactly one reason; the numbers are those of the pruning."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import schemas
from pipeline.core.dataset.loss import picture_loss
from pipeline.core.dataset.survivors import surviving
from pipeline.core.errors import InputError


def tables(items: list[dict]) -> tuple[pa.Table, ...]:
    """Tables of one user who has all `items`: {"product": bool, "refused": kind, "vendor": [reasons], ...}."""
    urls, ledger = [], []
    products = [{"asin": f"B{n}", "pictures_refused": of.get("refused")} for n, of in enumerate(items) if of["product"]]
    of_products = pa.schema([("asin", pa.string()), ("pictures_refused", pa.string())])
    for item, about in enumerate(items):
        for source in ("vendor", "customer"):
            for position, reason in enumerate(about.get(source, [])):
                url = f"https://h.example/{item}/{source}/{position}.jpg"
                urls.append({"asin": f"B{item}", "item": item, "source": source, "position": position, "url": url})
                if reason is not None:
                    sha = f"{item}{source}{position}" if reason == "ok" else None
                    status = "ok" if reason == "ok" else "gone"
                    ledger.append({"url": url, "status": status, "reason": reason, "attempts": 1, "sha256": sha})
    names = [{"item": n, "asin": f"B{n}"} for n in range(len(items) + 2)]  # two have left the 5-core
    return (
        pa.Table.from_pylist([{"user": 0, "item": n, "time": None} for n in range(len(items))], schemas.INTERACTIONS),
        pa.Table.from_pylist(names, schemas.ITEMS),
        pa.Table.from_pylist(products, of_products),
        pa.Table.from_pylist(urls[::-1], schemas.IMAGE_URLS),
        pa.Table.from_pylist(ledger, schemas.IMAGE_LEDGER),
    )


CASES = [
    {"product": True, "refused": "video", "vendor": ["http_404", "ok"]},
    {"product": True, "vendor": ["http_404", "too_small"]},
    {"product": True, "vendor": ["too_small"], "customer": ["ok"]},
    {"product": True, "refused": "video", "vendor": [None]},
    {"product": True},
    {"product": True, "refused": "data"},
    {"product": False},
    {"product": False, "customer": ["timeout"]},
]


def test_each_lost_item_has_the_reason_of_its_first_address_or_of_its_missing_one():
    found = picture_loss(*tables(CASES), "vendor_all")
    lost = {"no_product": 2, "http_404": 1, "no_address": 1, "not_fetched": 1, "too_small": 1, "unusable_data": 1}
    assert (found.items, found.pictured, found.lost) == (8, 1, lost)
    assert found.share == pytest.approx(7 / 8)


def test_customers_pictures_count_only_in_the_mode_that_has_them():
    found = picture_loss(*tables(CASES), "vendor_customer")
    lost = {"http_404": 1, "no_address": 1, "no_product": 1, "not_fetched": 1, "timeout": 1, "unusable_data": 1}
    assert (found.pictured, found.lost) == (2, lost)


def test_an_address_that_was_signed_again_is_the_one_that_the_ledger_knows():
    interactions, items, products, urls, ledger = tables([{"product": True, "vendor": ["ok"]}])
    signed = "https://h.example/a.jpg?X-Amz-Signature={}&X-Amz-Date=20260101T000000Z&X-Amz-Expires=60"
    for name, signature in (("urls", "1"), ("ledger", "2")):
        table = urls if name == "urls" else ledger
        at = table.schema.get_field_index("url")
        changed = table.set_column(at, table.schema.field(at), pa.array([signed.format(signature)]))
        urls, ledger = (changed, ledger) if name == "urls" else (urls, changed)
    assert picture_loss(interactions, items, products, urls, ledger, "vendor_all").pictured == 1


REASON = st.sampled_from(["ok", "http_404", "timeout", "too_small", "placeholder", None])
ITEM = st.fixed_dictionaries(
    {
        "product": st.booleans(),
        "refused": st.sampled_from([None, "data"]),
        "vendor": st.lists(REASON, max_size=3),
        "customer": st.lists(REASON, max_size=2),
    }
)


@given(st.lists(ITEM, min_size=1, max_size=12), st.sampled_from(schemas.IMAGE_MODES))
def test_the_counts_add_up_to_the_items_and_are_those_of_the_pruning(items: list[dict], mode: str):
    made = tables(items)
    found = picture_loss(*made, mode)
    assert found.pictured + sum(found.lost.values()) == found.items == len(items)
    interactions, _, _, urls, ledger = made
    try:
        counts = surviving(interactions, urls, ledger, mode, k=1).counts
    except InputError:
        assert found.pictured == 0
        return
    assert sum(found.lost.values()) == counts["items_without_picture"]
