"""Repeated keys are found by ranges as with a dictionary, and repeated reviews are handled."""

from collections import Counter, defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.raw.merging import LEFT_OUT, repeated_reviews
from pipeline.core.raw.parts import Part
from pipeline.core.raw.repeats import ranges, recorded, repeated

SPREAD = 0x9E3779B97F4A7C15  # odd, so that small numbers become distinct keys with their own first bits
FILES = st.lists(st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=9), max_size=5), max_size=4)


def parts_of(files: list[list[list[int]]], spread: int, folder: Path) -> list[Part]:
    """Record files of blocks of keys."""
    parts = []
    for number, blocks in enumerate(files):
        (folder / str(number)).mkdir()
        with recorded(folder / str(number)) as record:
            for block in blocks:
                record(np.array(block, np.uint64) * np.uint64(spread))
        rows = sum(map(len, blocks))
        parts.append(Part(folder / str(number), "x", rows, rows, 0, None, {}))
    return parts


@given(FILES, st.sampled_from((1, SPREAD)), st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_every_row_with_a_repeated_key_is_found_for_any_ranges(files, spread, at_once):
    places = defaultdict(list)
    for number, blocks in enumerate(files):
        for row, value in enumerate(key for block in blocks for key in block):
            places[value].append((number, row))
    wanted = {place for found in places.values() if len(found) > 1 for place in found}
    with TemporaryDirectory() as folder:
        parts = parts_of(files, spread, Path(folder))
        found = []
        for stretch in ranges(sum(part.rows for part in parts), at_once):
            here = repeated(stretch, [part.folder for part in parts])
            order = list(zip(here.key.tolist(), here.file.tolist(), here.row.tolist(), strict=True))
            assert order == sorted(order)
            found += [(file, row) for _, file, row in order]
    assert len(found) == len(set(found))
    assert set(found) == wanted


@given(FILES, st.sampled_from((1, SPREAD)), st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_a_line_is_numbered_in_its_file_and_left_out_if_an_earlier_file_has_it_as_often(files, spread, at_once):
    of_earlier, wanted = Counter(), {}
    for number, blocks in enumerate(files):
        in_file = Counter()
        for row, value in enumerate(key for block in blocks for key in block):
            change = LEFT_OUT if of_earlier[value] > in_file[value] else in_file[value]
            in_file[value] += 1
            if change:
                wanted[number, row] = change
        for value, count in in_file.items():
            of_earlier[value] = max(of_earlier[value], count)
    with TemporaryDirectory() as folder:
        parts = parts_of(files, spread, Path(folder))
        found = {}
        for stretch in ranges(sum(part.rows for part in parts), at_once):
            for change in repeated_reviews(stretch, parts).to_pylist():
                found[change["file"], change["row"]] = change["repeat"]
    assert found == wanted


def test_ranges_cover_the_key_space_in_pieces_of_the_requested_size():
    for rows, at_once, pieces in ((0, 10, 1), (10, 10, 1), (11, 10, 2), (10**9, 10, 1024)):
        cut = ranges(rows, at_once)
        assert len(cut) == pieces
        assert [low for low, _ in cut] + [1024] == [0] + [high for _, high in cut]
