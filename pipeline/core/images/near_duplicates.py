"""Find near-duplicates: pictures of the bank that show the same photograph, recompressed, resized or retouched.

Studio photographs share pose and background, so a perceptual hash alone calls thousands of different garments equal.
Here the hash only proposes pairs; small colour thumbnails confirm them.

The hash is pHash: whether each of the 64 lowest frequencies of the grey picture is above their median. dHash does not
fit: half of its bits compare neighbouring cells of an even background, which is noise. Over a bank, pHash takes two
matrix products per picture, 0.5 ms with the thumbnail. `imagehash` takes 0.9 ms, handles one Pillow picture at a time,
and has neither thumbnails nor a search.

Measured on two catalogues of studio photographs (19,090 of 224 px and 19,545 of 60x80): within 4 bits, pHash alone
proposes 8,178 and 127,487 pairs of different items, nearly all different garments in the same pose. Confirmed at 0.005
there are 4 (look-alikes) and 35 (by eye nearly all the same photograph, some recoloured). Of pictures saved again at 50
to 200% of their size and JPEG quality 60 to 85, 89 to 100% are found (73% for 60x80 halved). At 0.01 it is 93 to 100%,
but with 72 pairs in the first catalogue, nearly all look-alikes, and 142 in the second, half of them look-alikes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import Doc

from pipeline.core import schemas

_BITS = 64
_BANDS, _BAND_BITS = 4, 16
_FREQUENCIES = 11  # the 64 lowest, taken diagonal by diagonal, are within this many per direction
_CELLS = 8  # thumbnails are 8 x 8; with 16 x 16 fewer resized copies are confirmed at as many look-alikes
_CHUNK = 64  # pictures hashed at once: 38 MB as float32 at 224 px
_PAIRS = 1 << 20  # candidate pairs compared at once
_CONFIRMED_AT_ONCE = 1 << 15
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's convert("L")
MOST_BITS = 15


@dataclass(frozen=True)
class NearDuplicateSettings:
    """Thresholds for near-duplicates; an invalid one raises a ValueError naming the field."""

    distance: Annotated[int, Doc("Maximum number of bits of 64 in which two perceptual hashes differ; 0 to 15.")] = 4
    difference: Annotated[
        float, Doc("Maximum mean squared difference of the 8 x 8 thumbnails, over their contrast.")
    ] = 0.005
    flat: Annotated[float, Doc("A thumbnail that varies by fewer levels (of 255) is blank and matches nothing.")] = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.distance <= MOST_BITS:
            raise ValueError(f"distance is {self.distance}; it must be 0 to {MOST_BITS} bits of {_BITS}")
        for name in ("difference", "flat"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")


@dataclass(frozen=True)
class Fingerprints:
    """Hash and thumbnail of each picture, about 800 bytes per picture."""

    phash: np.ndarray  # [n] uint64
    thumbnail: np.ndarray  # [n, 192] float32: 8 x 8 RGB means, less each channel's mean over the picture
    tint: np.ndarray  # [n, 3] float32: those channel means
    contrast: np.ndarray  # [n] float32: variance of the thumbnail about its channel means


@dataclass(frozen=True)
class NearDuplicates:
    """The near-duplicates in a bank."""

    table: pa.Table  # schemas.NEAR_DUPLICATES, one row per picture of the bank
    pairs: np.ndarray  # int64 [m, 2], rows of confirmed pairs
    counts: dict[str, int]


def fingerprints(
    pixels: np.ndarray, chunk: int = _CHUNK, on_progress: Callable[[int, int], None] | None = None
) -> Fingerprints:
    """Compute hash and thumbnail of each picture of uint8 [n, H, W, 3]; memory holds `chunk` pictures as float32."""
    count, height, width = pixels.shape[:3]
    across, down = _cosines(width), _cosines(height)  # [F, W], [F, H]
    cells_across, cells_down = _cell_means(width), _cell_means(height)  # [8, W], [8, H]
    # [3W, F + 24]: one product over a row of RGB values gives its grey frequencies and its cells in each channel.
    by_row = np.concatenate(
        [
            np.einsum("fw,c->wcf", across, _GREY).reshape(3 * width, _FREQUENCIES),
            np.einsum("kw,cd->wckd", cells_across, np.eye(3, dtype=np.float32)).reshape(3 * width, 3 * _CELLS),
        ],
        axis=1,
    )
    rows, columns = _lowest_frequencies()
    phash = np.empty(count, np.uint64)
    thumbnail = np.empty((count, _CELLS * _CELLS, 3), np.float32)
    for start in range(0, count, chunk):
        part = slice(start, min(start + chunk, count))
        flat = np.asarray(pixels[part]).reshape(-1, 3 * width).astype(np.float32)
        projected = (flat @ by_row).reshape(-1, height, by_row.shape[1])
        frequencies = (down @ projected[..., :_FREQUENCIES])[:, rows, columns]  # [chunk, 64]
        # Round to 1/4096 of a level, so that the order of additions never decides a bit of a symmetric picture.
        frequencies = np.round(frequencies * 4096)
        bits = frequencies > np.median(frequencies, axis=1, keepdims=True)
        phash[part] = np.ascontiguousarray(np.packbits(bits, axis=1)).view(">u8").ravel()
        thumbnail[part] = (cells_down @ projected[..., _FREQUENCIES:]).reshape(-1, _CELLS * _CELLS, 3)
        if on_progress is not None:
            on_progress(part.stop, count)
    tint = thumbnail.mean(1)
    thumbnail -= tint[:, None]
    return Fingerprints(phash, thumbnail.reshape(count, 3 * _CELLS * _CELLS), tint, np.square(thumbnail).mean((1, 2)))


def _cosines(length: int) -> np.ndarray:
    """Compute the first frequencies of a DCT-II over `length` samples, float32 [F, length], in units of levels."""
    frequency, sample = np.arange(_FREQUENCIES)[:, None], np.arange(length)[None]
    return (np.cos(np.pi * (2 * sample + 1) * frequency / (2 * length)) / length).astype(np.float32)


def _cell_means(length: int) -> np.ndarray:
    """Compute weights that average 8 equal parts of `length` samples, sharing those on an edge: float32 [8, length]."""
    edges = np.linspace(0, length, _CELLS + 1)
    sample = np.arange(length)
    overlap = np.minimum(edges[1:, None], sample + 1) - np.maximum(edges[:-1, None], sample)
    return (np.maximum(overlap, 0) * _CELLS / length).astype(np.float32)


def _lowest_frequencies() -> tuple[list[int], list[int]]:
    """List row and column of the 64 lowest frequencies without the mean, by diagonals (like JPEG, without zigzag)."""
    every = [(u + v, u, v) for u in range(_FREQUENCIES) for v in range(_FREQUENCIES) if u + v > 0]
    lowest = sorted(every)[:_BITS]
    return [u for _, u, _ in lowest], [v for _, _, v in lowest]


def close_pairs(phash: np.ndarray, distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Find all pairs (i, j) of hashes uint64 [n] that differ in at most `distance` bits; exact, each once, in blocks.

    A hash has four bands of 16 bits. Two hashes within d bits differ by at most d // 4 bits in at least one band, so
    only hashes with such a band are compared. Memory holds about a million candidates.
    """
    bands = _bands(phash)
    radius = distance // _BANDS
    flips = [sum(1 << bit for bit in bits) for r in range(radius + 1) for bits in combinations(range(_BAND_BITS), r)]
    for band in range(_BANDS):
        order = np.argsort(bands[band], kind="stable")
        keys = bands[band][order].astype(np.int64)
        begins = np.searchsorted(keys, np.arange((1 << _BAND_BITS) + 1))
        for flip in flips:
            other = keys ^ flip
            low, high = begins[other], begins[other + 1]
            if flip == 0:
                low = np.arange(1, len(keys) + 1)  # in a hash's own bucket, only the hashes after it
            else:
                high = np.where(keys < other, high, low)  # each pair of buckets only once
            for left, right in _ranges(low, high):
                i, j = order[left], order[right]
                near = np.bitwise_count(phash[i] ^ phash[j]) <= distance
                i, j = i[near], j[near]
                for earlier in range(band):  # drop pairs that an earlier band has found
                    new = np.bitwise_count(bands[earlier][i] ^ bands[earlier][j]) > radius
                    i, j = i[new], j[new]
                if len(i):
                    yield np.minimum(i, j), np.maximum(i, j)


def _bands(phash: np.ndarray) -> np.ndarray:
    """Split hashes into bands uint16 [4, n] of every fourth bit each.

    No band then gets all the low frequencies, which garments have in common.
    """
    bits = np.unpackbits(phash.astype(">u8").view(np.uint8).reshape(-1, _BITS // 8), axis=1)
    packed = [np.packbits(bits[:, band::_BANDS], axis=1).astype(np.uint16) for band in range(_BANDS)]
    return np.stack([pair[:, 0] << 8 | pair[:, 1] for pair in packed])


def _ranges(low: np.ndarray, high: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """List (p, q) for every q in low[p] .. high[p] - 1, in blocks of about a million."""
    lengths = np.maximum(high - low, 0)
    busy = np.flatnonzero(lengths)
    ends = np.cumsum(lengths[busy])
    start = 0
    while start < len(busy):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _PAIRS, side="right")))
        p = busy[start:stop]
        left = np.repeat(p, lengths[p])
        offset = np.arange(len(left)) - np.repeat(ends[start:stop] - lengths[p] - before, lengths[p])
        yield left, low[left] + offset
        start = stop


def difference(prints: Fingerprints, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Divide the mean squared difference of thumbnails by the geometric mean of their contrasts: float32 [pairs]."""
    differences = np.empty(len(i), np.float32)
    for start in range(0, len(i), _CONFIRMED_AT_ONCE):
        part = slice(start, start + _CONFIRMED_AT_ONCE)
        a, b = i[part], j[part]
        apart = np.square(prints.thumbnail[a] - prints.thumbnail[b]).mean(1)
        apart += np.square(prints.tint[a] - prints.tint[b]).mean(1)
        differences[part] = apart / np.sqrt(prints.contrast[a] * prints.contrast[b])
    return differences


def find(
    pixels: np.ndarray,
    sha256s: pa.ChunkedArray | pa.Array,
    shown: pa.Table,
    settings: NearDuplicateSettings | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> NearDuplicates:
    """Cluster the near-duplicates among the bank's pictures, and count the items that show each cluster.

    A cluster is connected by pairs, so its ends may differ by more than the thresholds. Blank pictures are in none.

    Args:
        pixels: uint8 [n, H, W, 3], one picture per bank row.
        sha256s: the content of each row.
        shown: which item shows which picture: columns sha256 and item, others are ignored.
        settings: thresholds.
        on_progress: called with (pictures hashed, all pictures).
    """
    settings = settings or NearDuplicateSettings()
    prints = fingerprints(pixels, on_progress=on_progress)
    usable = np.flatnonzero(prints.contrast >= settings.flat**2)
    confirmed: list[np.ndarray] = []
    for i, j in close_pairs(prints.phash[usable], settings.distance):
        a, b = usable[i], usable[j]
        same = difference(prints, a, b) <= settings.difference
        confirmed.append(np.stack([a[same], b[same]], 1))
    pairs = np.concatenate(confirmed) if confirmed else np.empty((0, 2), np.int64)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    cluster = _clusters(pairs, len(pixels))
    blank = np.ones(len(pixels), bool)
    blank[usable] = False
    items = _items_of_clusters(cluster, sha256s, shown)
    table = pa.table(
        {
            "bank_row": pa.array(np.arange(len(pixels), dtype=np.int32)),
            "sha256": sha256s,
            "phash": pa.array(prints.phash, mask=blank),
            "cluster": pa.array(cluster, mask=cluster < 0),
            "cluster_items": pa.array(items),
        },
        schema=schemas.NEAR_DUPLICATES,
    )
    across = items > 1
    counts = {
        "pictures": len(pixels),
        "blank": int(blank.sum()),
        "pairs": len(pairs),
        "clusters": int(cluster.max(initial=-1)) + 1,
        "clusters_across_items": len(np.unique(cluster[across & (cluster >= 0)])),
        "pictures_across_items": int((across & (cluster >= 0)).sum()),
        "equal_pictures_across_items": int((across & (cluster < 0)).sum()),
    }
    return NearDuplicates(table, pairs, counts)


def largest_across_items(table: pa.Table, count: int) -> list[np.ndarray]:
    """List the bank rows of the `count` largest clusters shown by different items, largest first.

    `table` is NEAR_DUPLICATES.
    """
    spanning = table.filter(pc.and_(pc.is_valid(table["cluster"]), pc.greater(table["cluster_items"], 1)))
    cluster, rows = spanning["cluster"].to_numpy(), spanning["bank_row"].to_numpy()
    numbers, sizes = np.unique(cluster, return_counts=True)
    largest = numbers[np.argsort(-sizes, kind="stable")][:count]
    return [rows[cluster == number] for number in largest]


def _clusters(pairs: np.ndarray, count: int) -> np.ndarray:
    """Number the cluster of each picture by its first row: int32 [count], -1 for a picture without cluster."""
    from scipy.sparse import coo_array  # imported here because it takes a second, which a code location must not pay
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    _, first, inverse, size = np.unique(label, return_index=True, return_inverse=True, return_counts=True)
    number = np.full(len(first), -1, np.int32)
    several = np.flatnonzero(size > 1)
    number[several[np.argsort(first[several])]] = np.arange(len(several))
    return number[inverse]


def _items_of_clusters(cluster: np.ndarray, sha256s: pa.ChunkedArray | pa.Array, shown: pa.Table) -> np.ndarray:
    """Count the distinct items that show a picture's cluster, or the picture itself if it has none: int32 [n]."""
    row_of = {sha: row for row, sha in enumerate(sha256s.to_pylist())}
    # A picture without cluster is a group of its own, numbered after the clusters.
    group = np.where(cluster >= 0, cluster, len(cluster) + np.arange(len(cluster)))
    items: dict[int, set[int]] = {}
    for sha, item in zip(shown["sha256"].to_pylist(), shown["item"].to_pylist(), strict=True):
        row = row_of.get(sha)
        if row is not None and item is not None:
            items.setdefault(int(group[row]), set()).add(item)
    return np.array([len(items.get(int(number), ())) for number in group], np.int32)
