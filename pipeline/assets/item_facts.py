"""What a shop knows of its items besides pictures and purchases: text features and categories, for all modes."""

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import item_facts as facts
from pipeline.core import text_features
from pipeline.core.tables import StoredTable, table_digest
from pipeline.core.text_features import FactSettings
from pipeline.home.storage import Storage, digest
from pipeline.settings.launchpad import ItemFactsConfig
from pipeline.settings.method import Method
from pipeline.views.metadata import file

GROUP = "dataset"


@dg.asset(group_name=GROUP, kinds={"numpy"}, code_version=facts.CODE)
def item_facts(
    config: ItemFactsConfig, method: Method, storage: Storage, items: pa.Table, products: StoredTable
) -> dg.MaterializeResult:
    """Compute text features of titles and category paths, and the category of every item on each level of its path."""
    settings = method.settings(FactSettings, "item_facts", config)
    wanted = pc.field("asin").isin(items["asin"].combine_chunks())
    described = facts.described(items, products.read(["asin", "title", "categories"], wanted))
    version = digest(table_digest(described), settings, text_features.version(settings), facts.CODE)
    path = storage.facts(version)
    if not path.is_file():
        facts.shop_facts(described, settings).save(path)
    storage.set_current_facts(version)
    found = facts.ShopFacts.load(path).facts
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": items.num_rows,
            "items_without_text": int((~found.text.any(1)).sum()),
            "text_columns": found.text.shape[1],
            "categories_by_level": [len(names) for names in found.names],
            "file": file(path),
        },
        data_version=dg.DataVersion(version),
    )
