"""Number the products that no user of the k-core has, so that they can be recommended too (`candidates: all`).

What has no working picture is dropped with the others in `survivors.py`.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import schemas
from pipeline.core.tables import StoredTable

BOUGHT, ALL = "bought", "all"
CANDIDATES = (BOUGHT, ALL)  # items that the users of the k-core have; and all products with a picture


def with_all_products(items: pa.Table, products: StoredTable) -> pa.Table:
    """Append the products with an address of a picture to ITEMS, in the order of PRODUCTS; no number changes."""
    lengths = [pc.list_value_length(pc.field(name)) for name in ("vendor_urls", "vendor_urls_high")]
    shown = products.read(["asin"], (lengths[0] > 0) | (lengths[1] > 0))["asin"].unique()
    new = shown.filter(pc.invert(pc.is_in(shown, value_set=items["asin"].combine_chunks())))
    numbers = pa.array(np.arange(items.num_rows, items.num_rows + len(new), dtype=np.int32))
    return pa.concat_tables([items, pa.table([numbers, new], schema=schemas.ITEMS)]).combine_chunks()
