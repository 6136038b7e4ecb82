"""Converting between Arrow and numpy keeps all values and does not import pandas."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.arrow import to_arrow, to_numpy


@pytest.mark.parametrize(
    "values",
    [np.arange(5), np.array([], np.float32), np.array([1.5, np.nan]), np.arange(10, dtype=np.uint64)[::2],
     np.array([True, False, True] * 7), np.zeros(0, bool)],
)  # fmt: skip
def test_numbers_and_bools_survive_a_round_trip(values):
    array = to_arrow(values)
    assert array.equals(pa.array(values)) or np.isnan(values).any()
    np.testing.assert_array_equal(to_numpy(array), values)
    assert to_numpy(array).dtype == values.dtype
    np.testing.assert_array_equal(to_numpy(pa.chunked_array([array, array])), np.concatenate([values, values]))


def test_texts_become_strings():
    for texts in ([], ["", "ä", "abc"]):
        array = to_arrow(texts)
        array.validate(full=True)
        assert array.equals(pa.array(texts, pa.string()))


def test_a_column_with_nulls_is_refused():
    with pytest.raises(Exception, match="null"):
        to_numpy(pa.array([1, None]))


def test_reading_reviews_and_the_5_core_import_no_pandas(tmp_path):
    review = {"overall": 5.0, "image": ["http://shop/1.jpg"]}
    pairs = [(f"u{n // 6}", f"i{n % 6}") for n in range(60)]
    lines = [json.dumps({"reviewerID": user, "asin": item, **review}) for user, item in [*pairs, pairs[0]]]
    (tmp_path / "reviews.jsonl").write_text("\n".join(lines))
    code = (
        "import sys; from pathlib import Path\n"
        "from pipeline.core.raw.ingest import read_reviews\n"
        "from pipeline.core.dataset.kcore import five_core\n"
        f"read = read_reviews([Path({str(tmp_path / 'reviews.jsonl')!r})])\n"
        "print(five_core(read.reviews_file).counts['interactions'], 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["60", "False"]
