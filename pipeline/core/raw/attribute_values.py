"""Clean the values of attributes, and keep those of a row as a map by their names.

Which columns are attributes is decided in `pipeline/core/shop/`.
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrow import to_arrow, to_numpy
from pipeline.core.raw.values import MISSING
from pipeline.core.raw.vintages import clean_title

TYPE = pa.map_(pa.string(), pa.string())
CHARACTERS = 2_000  # longer values are cut


def attribute(column: pa.Array | pa.ChunkedArray, counts: Counter[str]) -> pa.Array:
    """Clean the texts of an attribute as titles are; null where there is none.

    A whole number that was written as a float becomes that integer. Cuts are counted.
    """
    distinct = (column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column).dictionary_encode()
    whole = pc.replace_substring_regex(distinct.dictionary, r"^([+-]?[0-9]+)\.0+$", r"\1")
    texts = [clean_title(text) for text in whole.to_pylist()]  # most attributes have few values
    too_long = np.array([len(text) > CHARACTERS for text in texts], bool)
    if too_long.any():
        counts["attributes_cut"] += int(too_long[to_numpy(distinct.indices.drop_null())].sum())
    kept = [None if text.lower() in (*MISSING, "<na>") else text[:CHARACTERS].rstrip() for text in texts]
    return pa.array(kept, pa.string()).take(distinct.indices)


def attributes(named: Mapping[str, pa.Array], rows: int) -> pa.Array:
    """Make a map [rows] of each row's values by their names, in the order of these; null where a row has none."""
    if not named:
        return pa.nulls(rows, TYPE)
    columns = list(named.values())
    known = np.stack([to_numpy(column.is_valid()) for column in columns], 1)
    place = np.arange(rows * len(columns)).reshape(len(columns), rows).T  # of each value, in all columns as one
    values = pa.concat_arrays(columns).take(to_arrow(place[known]))
    keys = pa.array(list(named), pa.string()).take(to_arrow(np.nonzero(known)[1]))
    lengths = known.sum(1)
    starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    return pa.MapArray.from_arrays(to_arrow(starts, np.append(lengths > 0, True)), keys, values)
