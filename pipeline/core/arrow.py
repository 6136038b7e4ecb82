"""numpy's and Python's columns as Arrow's and back, without pandas.

`pa.array`, `pa.scalar` and `to_numpy` import pandas on their first call: a fifth of a second and 40 MB, which reading a
million reviews does without. For the hot path of ingest only; elsewhere pyarrow's own calls read better.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def to_arrow(values: np.ndarray | Sequence[str], known: np.ndarray | None = None) -> pa.Array:
    """`values` [n] as an array: numbers (not copied), bools, or texts as pa.string().

    known: bool [n], of numbers; where it is false the array has null. None: nowhere.
    """
    if not isinstance(values, np.ndarray):
        encoded = [text.encode() for text in values]
        offsets = np.cumsum([0, *map(len, encoded)]).astype(np.int32)
        return _built(pa.string(), len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))
    values = np.ascontiguousarray(values)
    packed = np.packbits(values, bitorder="little") if values.dtype == bool else values
    valid = None if known is None or known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))
    return _built(pa.from_numpy_dtype(values.dtype), len(values), pa.py_buffer(packed), valid=valid)


def to_numpy(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """A column of numbers or bools without nulls as numpy's [n]; read-only."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_boolean(array.type):
        return np.from_dlpack(array.cast(pa.uint8())).view(bool)
    return np.from_dlpack(array)


def _built(kind: pa.DataType, length: int, *buffers: pa.Buffer, valid: pa.Buffer | None = None) -> pa.Array:
    return pa.Array.from_buffers(kind, length, [valid, *buffers])
