"""Mend ids that a program took for numbers, or find those that are lost so: floats, and the forms of spreadsheets."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrow import scalar, to_arrow

ROUNDED = r"^[0-9]([.,][0-9]+)?[eE]\+[0-9]{2}$"  # as spreadsheets show a long number: 4.05111E+12
_DIGITS = {pa.float16(): 11, pa.float32(): 24}  # binary ones of the mantissa


def texts_of_floats(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write whole numbers as integers, each value by itself, so that an id is spelt the same in every block."""
    column = column.cast(pa.float32()) if pa.types.is_float16(column.type) else column
    inside = pc.less(pc.abs(column), pa.scalar(2.0**53, column.type))
    whole = pc.and_(pc.equal(column, pc.floor(column)), inside)
    if pc.all(whole).as_py():
        return column.cast(pa.int64()).cast(pa.string())
    integers = pc.if_else(whole, column, pa.nulls(1, column.type)[0]).cast(pa.int64()).cast(pa.string())
    return pc.coalesce(integers, column.cast(pa.string()))


def unwrapped(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Take away the form in which Excel keeps a number as text: `="0108775015"`."""
    return pc.replace_substring_regex(texts, r'^\s*="(.*)"\s*$', r"\1") if _may_hold(texts, "=") else texts


def rounded(column: pa.ChunkedArray, ids: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Mark the ids of a column that were numbers with too few digits, so that several ids became one: bool [n]."""
    if digits := _DIGITS.get(column.type):
        beyond = pc.greater(pc.abs(column.cast(pa.float64())), scalar(2.0**digits))
        return pc.fill_null(beyond, scalar(False))
    if _may_hold(ids, "+"):
        return pc.fill_null(pc.match_substring_regex(ids, ROUNDED), scalar(False))
    return to_arrow(np.zeros(len(ids), bool))


def _may_hold(texts: pa.ChunkedArray, character: str) -> bool:
    """Return whether a character may occur in some of the texts; much faster than a search in each of them."""
    buffers = (chunk.buffers()[2] for chunk in texts.chunks)
    return any(data is not None and re.search(re.escape(character.encode()), memoryview(data)) for data in buffers)
