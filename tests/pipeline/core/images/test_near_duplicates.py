"""A photograph saved again is found as a near-duplicate; other garments in the same pose are not."""

import io
import resource

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from pipeline.core import schemas
from pipeline.core.images import near_duplicates
from pipeline.core.images.near_duplicates import NearDuplicateSettings, close_pairs, difference, find, fingerprints

SIDE = 64


def drawn(seed: int, ink: tuple[int, int, int] = (40, 60, 140)) -> Image.Image:
    """Draw garment-like shapes on white."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (96, 96), "white")
    canvas = ImageDraw.Draw(picture)
    for _ in range(6):
        x, y = rng.integers(0, 70, 2)
        w, h = rng.integers(10, 60, 2)
        shade = tuple(int(value) for value in np.clip(np.array(ink) + rng.integers(-40, 40), 0, 255))
        canvas.ellipse((x, y, x + w, y + h), fill=shade)
    return picture


def row(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def saved_again(picture: Image.Image, share: float, quality: int) -> Image.Image:
    sink = io.BytesIO()
    side = round(picture.width * share)
    picture.resize((side, side), Image.Resampling.LANCZOS).save(sink, "JPEG", quality=quality)
    return Image.open(sink).convert("RGB")


def shas(count: int) -> pa.Array:
    return pa.array([f"sha{number}" for number in range(count)])


def shown(**items: list[int]) -> pa.Table:
    """Build the table of which items show sha0, sha1, ...: shown(sha0=[1], sha1=[1, 2])."""
    pairs = [(sha, item) for sha, of_sha in items.items() for item in of_sha]
    return pa.table({"sha256": [sha for sha, _ in pairs], "item": pa.array([item for _, item in pairs], pa.int32())})


NOTHING = pa.table({"sha256": pa.array([], pa.string()), "item": pa.array([], pa.int32())})


def brute_force(phash: np.ndarray, distance: int) -> set[tuple[int, int]]:
    found = set()
    for j in range(len(phash)):
        for i in range(j):
            if bin(int(phash[i]) ^ int(phash[j])).count("1") <= distance:
                found.add((i, j))
    return found


# Hashes that differ in a few bits, which random ones never do.
near_hashes = st.lists(
    st.tuples(st.sampled_from([0, 2**64 - 1, 0x0123456789ABCDEF]), st.sets(st.integers(0, 63), max_size=7)), max_size=14
).map(lambda drawn: np.array([base ^ sum(1 << bit for bit in bits) for base, bits in drawn], np.uint64))


@given(near_hashes, st.integers(0, 11))
def test_the_search_finds_every_pair_that_brute_force_finds_and_each_once(phash: np.ndarray, distance: int):
    blocks = [(i.tolist(), j.tolist()) for i, j in close_pairs(phash, distance)]
    pairs = [pair for i, j in blocks for pair in zip(i, j, strict=True)]
    assert sorted(pairs) == sorted(brute_force(phash, distance))


def test_the_search_is_the_same_when_it_works_in_small_blocks(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    phash = rng.integers(0, 4, 60).astype(np.uint64)  # large buckets
    whole = {pair for i, j in close_pairs(phash, 1) for pair in zip(i.tolist(), j.tolist(), strict=True)}
    monkeypatch.setattr(near_duplicates, "_PAIRS", 16)
    blocks = list(close_pairs(phash, 1))
    assert len(blocks) > 50
    assert {pair for i, j in blocks for pair in zip(i.tolist(), j.tolist(), strict=True)} == whole
    assert whole == brute_force(phash, 1)


def test_the_hash_is_the_sign_about_the_median_of_the_lowest_frequencies_of_the_grey_picture():
    from scipy.fft import dctn

    pixels = np.stack([row(drawn(seed)) for seed in range(5)])
    grey = pixels @ np.array([0.299, 0.587, 0.114])
    order = sorted((u + v, u, v) for u in range(16) for v in range(16) if u + v)[:64]
    for found, picture in zip(fingerprints(pixels).phash, grey, strict=True):
        spectrum = dctn(picture, type=2)
        values = np.array([spectrum[u, v] for _, u, v in order])
        expected = int("".join("1" if bit else "0" for bit in values > np.median(values)), 2)
        assert bin(int(found) ^ expected).count("1") <= 1  # one of the two middle values may be the median itself


def test_thumbnails_are_means_of_cells_whether_or_not_the_side_divides_by_eight():
    for side in (16, 20, 64):
        pixels = np.random.default_rng(side).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
        prints = fingerprints(pixels)
        # Every pixel repeated eight times a side makes cells whole, whatever the side.
        whole = pixels.repeat(8, 1).repeat(8, 2).reshape(3, 8, side, 8, side, 3).mean((2, 4)).reshape(3, 64, 3)
        assert np.allclose(prints.thumbnail.reshape(3, 64, 3) + prints.tint[:, None], whole, atol=1e-2)
        assert np.allclose(prints.tint, pixels.mean((1, 2)), atol=1e-2)


def test_fingerprints_do_not_depend_on_the_size_of_the_chunks():
    pixels = np.stack([row(drawn(seed)) for seed in range(7)])
    one, many = fingerprints(pixels, chunk=7), fingerprints(pixels, chunk=2)
    assert np.array_equal(one.phash, many.phash)
    assert np.allclose(one.thumbnail, many.thumbnail, atol=1e-3)


def test_a_picture_saved_again_smaller_or_coarser_is_found_and_another_is_not():
    first, other = drawn(1), drawn(2)
    pixels = np.stack([row(p) for p in (first, saved_again(first, 1.0, 60), other, saved_again(first, 0.5, 80))])
    found = find(pixels, shas(4), NOTHING)
    assert found.table["cluster"].to_pylist() == [0, 0, None, 0]
    assert found.counts["clusters"] == 1


def test_the_same_shape_in_another_colour_is_another_garment():
    pixels = np.stack([row(drawn(1, (150, 40, 40))), row(drawn(1, (40, 90, 40)))])
    prints = fingerprints(pixels)
    assert bin(int(prints.phash[0]) ^ int(prints.phash[1])).count("1") <= 4  # the hash alone calls them equal
    assert difference(prints, np.array([0]), np.array([1]))[0] > 0.005
    assert find(pixels, shas(2), NOTHING).counts["pairs"] == 0


def test_the_same_shapes_with_another_tint_are_another_picture():
    plain = row(drawn(1)) // 2
    cast = plain + np.array([60, 0, 0], np.uint8)
    prints = fingerprints(np.stack([plain, cast]))
    assert np.allclose(prints.thumbnail[0], prints.thumbnail[1], atol=1e-2)  # only the mean colours tell them apart
    assert find(np.stack([plain, cast]), shas(2), NOTHING).counts["pairs"] == 0


def test_blank_pictures_are_counted_and_match_nothing():
    pixels = np.full((4, SIDE, SIDE, 3), 255, np.uint8)
    pixels[1] -= np.random.default_rng(0).integers(0, 2, pixels[1].shape, dtype=np.uint8)
    pixels[3] = row(drawn(1))
    found = find(pixels, shas(4), NOTHING)
    assert found.counts["blank"] == 3 and found.counts["pairs"] == 0
    assert [value is None for value in found.table["phash"].to_pylist()] == [True, True, True, False]


def test_only_clusters_of_two_items_count_as_across_items():
    first, other = drawn(1), drawn(2)
    again = [saved_again(p, 1.0, 80) for p in (first, other)]
    pixels = np.stack([row(p) for p in (first, again[0], other, again[1], drawn(3), drawn(4))])
    found = find(pixels, shas(6), shown(sha0=[7], sha1=[7], sha2=[8], sha3=[9], sha4=[1, 2], sha9=[5]))
    assert found.table["cluster"].to_pylist() == [0, 0, 1, 1, None, None]
    assert found.table["cluster_items"].to_pylist() == [1, 1, 2, 2, 2, 0]
    assert found.counts["clusters_across_items"] == 1 and found.counts["pictures_across_items"] == 2
    assert found.counts["equal_pictures_across_items"] == 1  # sha4: one content, two items
    assert found.table.schema.equals(schemas.NEAR_DUPLICATES)


def test_a_cluster_contains_all_pictures_connected_by_pairs():
    cluster = near_duplicates._clusters(np.array([[1, 4], [4, 6], [2, 3]]), 7)
    assert cluster.tolist() == [-1, 0, 1, 1, 0, -1, 0]


def test_an_empty_bank_has_no_duplicates():
    found = find(np.empty((0, 8, 8, 3), np.uint8), pa.array([], pa.string()), NOTHING)
    assert found.table.num_rows == 0 and found.counts["clusters"] == 0


def test_memory_stays_flat_when_thousands_of_pictures_share_one_hash():
    phash = np.full(3000, 77, np.uint64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counted = sum(len(i) for i, _ in close_pairs(phash, 3))
    assert counted == 3000 * 2999 // 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB; the pairs alone are 72,000


def test_an_invalid_threshold_is_named():
    with pytest.raises(ValueError, match="distance is 16"):
        NearDuplicateSettings(distance=16)
    with pytest.raises(ValueError, match="difference"):
        NearDuplicateSettings(difference=-1.0)
