"""Give every item of the 5-core the reason why it has no working picture in an image mode, if it has none.

`survivors.py` drops these items; here they are only counted, each under exactly one reason.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.dataset.survivors import RULES
from pipeline.core.signatures import keys

# Reasons besides those of the ledger (schemas.REASONS).
NO_PRODUCT = "no_product"  # no line of the products has the item's id
NO_ADDRESS = "no_address"  # its product gives none
UNUSABLE = "unusable_"  # its product gives none that can be used: before the kind of the first (raw/unusable.py)
NOT_FETCHED = "not_fetched"  # the ledger does not know the address yet


@dataclass(frozen=True)
class PictureLoss:
    """The items of the 5-core in a mode: items = pictured + sum(lost.values())."""

    items: int
    pictured: int
    lost: dict[str, int] = field(default_factory=dict)  # reason -> items, the commonest first

    @property
    def share(self) -> float:
        """Return the share of items without a working picture."""
        return sum(self.lost.values()) / self.items if self.items else 0.0


def picture_loss(
    interactions: pa.Table, items: pa.Table, products: pa.Table, image_urls: pa.Table, ledger: pa.Table, mode: str
) -> PictureLoss:
    """Count the 5-core's items by what became of their pictures in `mode`.

    An item with a working picture is pictured. Any other item with addresses has the ledger's reason for the first of
    them, the shop's before customers'. An item without an address has no product, or a product that gives none, or
    none that can be used.

    Args:
        interactions: INTERACTIONS, whose items are those of the 5-core.
        items: ITEMS.
        products: PRODUCTS, of which only `asin` and `pictures_refused` are read; other products than those of the
            items may be left out.
        image_urls: IMAGE_URLS.
        ledger: IMAGE_LEDGER.
        mode: a key of RULES.
    """
    wanted = pc.unique(interactions["item"])
    urls = image_urls.filter(pc.is_in(image_urls["item"], value_set=wanted))
    urls = urls.filter(pc.is_in(urls["source"], value_set=pa.array(RULES[mode][0])))
    at = pc.index_in(keys(urls["url"]), value_set=keys(ledger["url"]).combine_chunks()).combine_chunks()
    kept = pc.and_(pc.equal(ledger["status"], "ok"), pc.is_valid(ledger["sha256"]))
    works = np.asarray(kept.combine_chunks().take(at).fill_null(False))
    of_url = urls["item"].to_numpy()
    pictured = np.unique(of_url[works])
    # The first address of each item: the shop's before customers', then by position.
    order = np.lexsort((urls["position"].to_numpy(), np.asarray(pc.equal(urls["source"], "customer")), of_url))
    addressed, first = np.unique(of_url[order], return_index=True)
    broken = ~np.isin(addressed, pictured)
    reasons = ledger["reason"].combine_chunks().take(at).fill_null(NOT_FETCHED)
    lost = Counter(reasons.take(pa.array(order[first[broken]])).to_pylist())
    bare = np.setdiff1d(wanted.to_numpy(), addressed)
    names = items["asin"].combine_chunks().take(pc.index_in(pa.array(bare), value_set=items["item"].combine_chunks()))
    at = pc.index_in(names, value_set=products["asin"].combine_chunks())
    refused = products["pictures_refused"].combine_chunks().take(at.drop_null())
    lost.update(NO_ADDRESS if kind is None else f"{UNUSABLE}{kind}" for kind in refused.to_pylist())
    lost[NO_PRODUCT] += at.null_count
    ordered = dict(sorted(((r, n) for r, n in lost.items() if n), key=lambda pair: (-pair[1], pair[0])))
    return PictureLoss(len(wanted), len(pictured), ordered)
