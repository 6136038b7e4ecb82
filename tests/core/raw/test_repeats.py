"""Repeated lines: counted in their own file, and known when an earlier file holds them as many times."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.raw.repeats import Repeats

SPREAD = 0x9E3779B97F4A7C15  # odd, so that small numbers become distinct hashes with their own first bits
FILES = st.lists(st.lists(st.lists(st.integers(0, 12), max_size=9), max_size=5), max_size=4)


@given(FILES, st.sampled_from((1, SPREAD)))
@settings(max_examples=200, deadline=None)
def test_every_line_is_counted_as_a_dictionary_would(files, spread):
    repeats, of_earlier = Repeats(), Counter()
    for blocks in files:
        repeats.next_file()
        in_file = Counter()
        for block in blocks:
            before, known = repeats.add(np.array(block, np.uint64) * np.uint64(spread))
            for value, count, held in zip(block, before, known, strict=True):
                assert count == in_file[value]
                assert held == (of_earlier[value] > in_file[value])
                in_file[value] += 1
        for value, count in in_file.items():
            of_earlier[value] = max(of_earlier[value], count)


def test_a_long_file_is_held_in_a_few_sorted_runs():
    repeats, rng = Repeats(), np.random.default_rng(0)
    hashes = rng.permutation(40_000).astype(np.uint64) * np.uint64(SPREAD)
    repeats.next_file()
    for block in hashes.reshape(400, 100):
        before, known = repeats.add(block)
        assert not before.any() and not known.any()
    assert len(repeats._file._runs) < 12
    repeats.next_file()
    before, known = repeats.add(hashes[:500])
    assert known.all() and not before.any()
