"""Near-duplicates: which pictures of the bank show the same photograph again, recompressed, resized or retouched.

Studio photographs share pose and background, so a perceptual hash alone calls thousands of different garments equal.
Here the hash only nominates pairs; their small colour thumbnails confirm them. What a near-duplicate means for a
split or for the generator's pictures is decided elsewhere.

The hash is pHash: the signs, about their median, of the 64 lowest frequencies of the grey picture. dHash was not
taken: half of its bits compare neighbouring cells of an even background, that is, noise. Over a bank it is two matrix
products a picture, 0.5 ms with the thumbnail; `imagehash` takes a Pillow picture at a time, 0.9 ms, and has neither
thumbnails nor a search.

Measured on two catalogues (studio photographs, 19,090 of 224 px and 19,545 of 60x80): within 4 bits pHash alone
nominates 8,178 and 127,487 pairs of different items, nearly all of them other garments in the same pose; confirmed at
0.005 there are 4 (look-alikes) and 35 (by eye all but a few the same photograph, some recoloured). Of a picture saved
again at 50 to 200% of its size and JPEG quality 60 to 85, 89 to 100% are found (73% where 60x80 were halved); at 0.01
it is 93 to 100%, but with 72 pairs in the first catalogue, nearly all look-alikes, and 142 in the second, half of
them look-alikes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import schemas

_BITS = 64
_BANDS, _BAND_BITS = 4, 16
_FREQUENCIES = 11  # the 64 lowest, diagonal by diagonal, reach no further than this in either direction
_CELLS = 8  # thumbnails are 8 x 8; at 16 x 16 fewer resized copies are confirmed for as many look-alikes
_CHUNK = 64  # pictures hashed at once: 38 MB as float32 at 224 px
_PAIRS = 1 << 20  # candidate pairs looked at together
_CONFIRMED_AT_ONCE = 1 << 15
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's convert("L")
MOST_BITS = 15


@dataclass(frozen=True)
class NearDuplicateSettings:
    """When two pictures count as the same; raises ValueError naming the field."""

    distance: int = 4  # bits of 64 in which two perceptual hashes may differ
    difference: float = 0.005  # mean squared difference of the 8 x 8 colour thumbnails, over their contrast
    flat: float = 1.0  # a picture whose thumbnail varies by fewer levels (of 255) is blank: like nothing

    def __post_init__(self) -> None:
        if not 0 <= self.distance <= MOST_BITS:
            raise ValueError(f"distance is {self.distance}; it must be 0 to {MOST_BITS} bits of {_BITS}")
        for name in ("difference", "flat"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")


@dataclass(frozen=True)
class Signatures:
    """What is kept of each picture: about 800 bytes."""

    phash: np.ndarray  # [n] uint64
    thumbnail: np.ndarray  # [n, 192] float32: 8 x 8 RGB means, less each channel's mean over the picture
    tint: np.ndarray  # [n, 3] float32: those channel means
    contrast: np.ndarray  # [n] float32: variance of the thumbnail about its channel means


@dataclass(frozen=True)
class NearDuplicates:
    """`table`: schemas.NEAR_DUPLICATES, a row a picture of the bank; `pairs`: confirmed rows, int64 [m, 2]."""

    table: pa.Table
    pairs: np.ndarray
    counts: dict[str, int]


def signatures(
    pixels: np.ndarray, chunk: int = _CHUNK, on_progress: Callable[[int, int], None] | None = None
) -> Signatures:
    """Hash and thumbnail of each picture of uint8 [n, H, W, 3]; memory holds `chunk` pictures as float32."""
    count, height, width = pixels.shape[:3]
    across, down = _cosines(width), _cosines(height)  # [F, W], [F, H]
    cells_across, cells_down = _cell_means(width), _cell_means(height)  # [8, W], [8, H]
    # One product over a row of RGB values gives its grey frequencies and its cells in each channel: [3W, F + 24].
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
        # To 1/4096 of a level, so that the order of additions never decides a bit of a symmetric picture.
        frequencies = np.round(frequencies * 4096)
        bits = frequencies > np.median(frequencies, axis=1, keepdims=True)
        phash[part] = np.ascontiguousarray(np.packbits(bits, axis=1)).view(">u8").ravel()
        thumbnail[part] = (cells_down @ projected[..., _FREQUENCIES:]).reshape(-1, _CELLS * _CELLS, 3)
        if on_progress is not None:
            on_progress(part.stop, count)
    tint = thumbnail.mean(1)
    thumbnail -= tint[:, None]
    return Signatures(phash, thumbnail.reshape(count, 3 * _CELLS * _CELLS), tint, np.square(thumbnail).mean((1, 2)))


def _cosines(length: int) -> np.ndarray:
    """DCT-II over `length` samples, the first frequencies: float32 [F, length], scaled so that values stay levels."""
    frequency, sample = np.arange(_FREQUENCIES)[:, None], np.arange(length)[None]
    return (np.cos(np.pi * (2 * sample + 1) * frequency / (2 * length)) / length).astype(np.float32)


def _cell_means(length: int) -> np.ndarray:
    """Means of 8 equal stretches of `length` samples, those on an edge shared: float32 [8, length]."""
    edges = np.linspace(0, length, _CELLS + 1)
    sample = np.arange(length)
    overlap = np.minimum(edges[1:, None], sample + 1) - np.maximum(edges[:-1, None], sample)
    return (np.maximum(overlap, 0) * _CELLS / length).astype(np.float32)


def _lowest_frequencies() -> tuple[list[int], list[int]]:
    """Row and column of the 64 lowest frequencies without the mean, diagonal by diagonal (JPEG's order, unturned)."""
    every = [(u + v, u, v) for u in range(_FREQUENCIES) for v in range(_FREQUENCIES) if u + v > 0]
    lowest = sorted(every)[:_BITS]
    return [u for _, u, _ in lowest], [v for _, _, v in lowest]


def close_pairs(phash: np.ndarray, distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs (i, j) of uint64 [n] that differ in at most `distance` bits, each once, in blocks; exact.

    Four bands of 16 bits: two hashes within d bits differ by at most d // 4 in one of them, so only hashes whose band
    equals ours, or ours with so few bits turned, are compared. Memory holds some million candidates.
    """
    bands = _bands(phash)
    radius = distance // _BANDS
    turned = [sum(1 << bit for bit in bits) for r in range(radius + 1) for bits in combinations(range(_BAND_BITS), r)]
    for band in range(_BANDS):
        order = np.argsort(bands[band], kind="stable")
        keys = bands[band][order].astype(np.int64)
        begins = np.searchsorted(keys, np.arange((1 << _BAND_BITS) + 1))
        for turn in turned:
            other = keys ^ turn
            low, high = begins[other], begins[other + 1]
            if turn == 0:
                low = np.arange(1, len(keys) + 1)  # in one's own bucket: those after oneself
            else:
                high = np.where(keys < other, high, low)  # a pair of buckets is met from both ends
            for left, right in _ranges(low, high):
                i, j = order[left], order[right]
                near = np.bitwise_count(phash[i] ^ phash[j]) <= distance
                i, j = i[near], j[near]
                for earlier in range(band):  # found there already
                    new = np.bitwise_count(bands[earlier][i] ^ bands[earlier][j]) > radius
                    i, j = i[new], j[new]
                if len(i):
                    yield np.minimum(i, j), np.maximum(i, j)


def _bands(phash: np.ndarray) -> np.ndarray:
    """uint16 [4, n]: every fourth bit each, so that no band gets all the low frequencies, in which garments agree."""
    bits = np.unpackbits(phash.astype(">u8").view(np.uint8).reshape(-1, _BITS // 8), axis=1)
    packed = [np.packbits(bits[:, band::_BANDS], axis=1).astype(np.uint16) for band in range(_BANDS)]
    return np.stack([pair[:, 0] << 8 | pair[:, 1] for pair in packed])


def _ranges(low: np.ndarray, high: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(p, q) for every q in low[p] .. high[p] - 1, in blocks of about a million."""
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


def difference(signed: Signatures, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Mean squared difference of the thumbnails i and j over the geometric mean of their contrasts: float32 [pairs]."""
    found = np.empty(len(i), np.float32)
    for start in range(0, len(i), _CONFIRMED_AT_ONCE):
        part = slice(start, start + _CONFIRMED_AT_ONCE)
        a, b = i[part], j[part]
        apart = np.square(signed.thumbnail[a] - signed.thumbnail[b]).mean(1)
        apart += np.square(signed.tint[a] - signed.tint[b]).mean(1)
        found[part] = apart / np.sqrt(signed.contrast[a] * signed.contrast[b])
    return found


def find(
    pixels: np.ndarray,
    sha256s: pa.ChunkedArray | pa.Array,
    shown: pa.Table,
    settings: NearDuplicateSettings | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> NearDuplicates:
    """Clusters of near-duplicates among the bank's pictures, and which of them stand behind different items.

    Args:
        pixels: uint8 [n, H, W, 3], a picture a bank row.
        sha256s: the content of each row.
        shown: columns sha256 and item: which item shows which picture; other columns are not looked at.
        settings: thresholds.
        on_progress: called with pictures hashed and all.

    A cluster is connected by pairs: its ends may be further apart than the thresholds. Blank pictures are in none.
    """
    settings = settings or NearDuplicateSettings()
    signed = signatures(pixels, on_progress=on_progress)
    usable = np.flatnonzero(signed.contrast >= settings.flat**2)
    found: list[np.ndarray] = []
    for i, j in close_pairs(signed.phash[usable], settings.distance):
        a, b = usable[i], usable[j]
        same = difference(signed, a, b) <= settings.difference
        found.append(np.stack([a[same], b[same]], 1))
    pairs = np.concatenate(found) if found else np.empty((0, 2), np.int64)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    cluster = _clusters(pairs, len(pixels))
    blank = np.ones(len(pixels), bool)
    blank[usable] = False
    items = _items_of_clusters(cluster, sha256s, shown)
    table = pa.table(
        {
            "bank_row": pa.array(np.arange(len(pixels), dtype=np.int32)),
            "sha256": sha256s,
            "phash": pa.array(signed.phash, mask=blank),
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
    """Bank rows of the `count` largest clusters behind different items, largest first; of NEAR_DUPLICATES."""
    spanning = table.filter(pc.and_(pc.is_valid(table["cluster"]), pc.greater(table["cluster_items"], 1)))
    cluster, rows = spanning["cluster"].to_numpy(), spanning["bank_row"].to_numpy()
    numbers, sizes = np.unique(cluster, return_counts=True)
    largest = numbers[np.argsort(-sizes, kind="stable")][:count]
    return [rows[cluster == number] for number in largest]


def _clusters(pairs: np.ndarray, count: int) -> np.ndarray:
    """int32 [count]: the cluster of each picture, numbered by first row; -1 where it is alone."""
    from scipy.sparse import coo_array  # a second of imports, which a code location does without
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    _, first, inverse, size = np.unique(label, return_index=True, return_inverse=True, return_counts=True)
    number = np.full(len(first), -1, np.int32)
    several = np.flatnonzero(size > 1)
    number[several[np.argsort(first[several])]] = np.arange(len(several))
    return number[inverse]


def _items_of_clusters(cluster: np.ndarray, sha256s: pa.ChunkedArray | pa.Array, shown: pa.Table) -> np.ndarray:
    """int32 [n]: distinct items behind a picture's cluster, or behind the picture itself where it is alone."""
    row_of = {sha: row for row, sha in enumerate(sha256s.to_pylist())}
    # A lone picture is a group of its own, after the clusters.
    group = np.where(cluster >= 0, cluster, len(cluster) + np.arange(len(cluster)))
    items: dict[int, set[int]] = {}
    for sha, item in zip(shown["sha256"].to_pylist(), shown["item"].to_pylist(), strict=True):
        row = row_of.get(sha)
        if row is not None and item is not None:
            items.setdefault(int(group[row]), set()).add(item)
    return np.array([len(items.get(int(number), ())) for number in group], np.int32)
