"""Convert columns between numpy or Python and Arrow without importing pandas.

`pa.array`, `pa.scalar` and `to_numpy` import pandas on their first call, which costs a fifth of a second and 40 MB.
Use this module only on the hot path of ingest; elsewhere pyarrow's own calls are more readable.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def to_arrow(values: np.ndarray | Sequence[str], known: np.ndarray | None = None) -> pa.Array:
    """Convert `values` [n] to an array: numbers (not copied), bools, or texts as pa.string().

    known: bool [n], for numbers only; the array is null where it is false. None: no nulls.
    """
    if not isinstance(values, np.ndarray):
        encoded = [text.encode() for text in values]
        offsets = np.cumsum([0, *map(len, encoded)]).astype(np.int32)
        return _from_buffers(pa.string(), len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))
    values = np.ascontiguousarray(values)
    packed = np.packbits(values, bitorder="little") if values.dtype == bool else values
    valid = None if known is None or known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))
    return _from_buffers(pa.from_numpy_dtype(values.dtype), len(values), pa.py_buffer(packed), valid=valid)


def scalar(value: float | bool, kind: type[np.generic] | None = None) -> pa.Scalar:
    """Convert a Python number or bool, for which pyarrow's kernels would import pandas."""
    return to_arrow(np.array([value], kind))[0]


def to_numpy(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Convert a column of numbers or bools without nulls to a read-only numpy array [n]."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_boolean(array.type):
        return np.from_dlpack(array.cast(pa.uint8())).view(bool)
    return np.from_dlpack(array)


def _from_buffers(kind: pa.DataType, length: int, *buffers: pa.Buffer, valid: pa.Buffer | None = None) -> pa.Array:
    return pa.Array.from_buffers(kind, length, [valid, *buffers])
