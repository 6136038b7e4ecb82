"""Choose the generator's pictures, crop them to 64x64 and label them with garment classes.

It needs only the ledger and the products, so it works without reviews. It crops the original files, because the
pictures of the bank are squashed.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import schemas
from pipeline.core.errors import InputError
from pipeline.core.generator import irrelevant
from pipeline.core.generator.garment_classes import carrying, classes_of
from pipeline.core.generator.irrelevant import Findings, RelevanceSettings
from pipeline.core.images.ledger import PictureStore
from pipeline.core.images.pictures import centre_crop, decode
from pipeline.core.signatures import keyed

SIZE = 64  # side in pixels; fixed by the depth of the networks
SOURCES = {"vendor": ("vendor",), "vendor_customer": ("vendor", "customer")}


@dataclass(frozen=True)
class Discarded:
    """Pictures found irrelevant, ordered by class, then by reason, the clearest case first."""

    pixels: np.ndarray  # uint8 [n, 64, 64, 3]
    garment_class: list[str]
    reason: list[str]  # one of irrelevant.REASONS
    seen_as: list[str]  # the class that the picture looks like


@dataclass(frozen=True)
class Garments:
    """The generator's pictures."""

    table: pa.Table  # GARMENTS
    pixels: np.ndarray  # uint8 [N, 64, 64, 3], rows as in `table`
    discarded: Discarded
    counts: dict[str, dict[str, int]] = field(default_factory=dict)  # class -> what was counted -> pictures


def build(
    image_urls: pa.Table,
    ledger: pa.Table,
    products: pa.Table,
    store: PictureStore,
    *,
    cap: int,
    minimum: int,
    held_out: float,
    sources: str,
    seed: int,
    embed: Callable[[np.ndarray], np.ndarray],
    relevance: RelevanceSettings | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Garments:
    """Choose, crop and label the pictures.

    Equal contents count once, under the first product. `find_irrelevant` discards irrelevant pictures, by the features
    that `embed` computes: uint8 [n, 64, 64, 3] -> [n, D]. Over the cap, every class drops pictures in proportion to its
    size. Which ones is decided by a hash of the seed and the content, so a new product changes few choices. Products
    are held out whole: none of their pictures trains. Every class has a held-out product. A class that would have fewer
    than `minimum` pictures left to train on has fewer held out.

    The classes are those recorded in `products`; the table records them too (`garment_classes.classes_of`).

    Raises:
        InputError: a class has fewer than `minimum` pictures to train on; the message lists all such classes.
    """
    if sources not in SOURCES:
        raise ValueError(f"sources: {sources!r} is not one of {', '.join(SOURCES)}")
    classes = classes_of(products, "products")
    chosen = _candidates(image_urls, ledger, products, SOURCES[sources])
    shas, asins = chosen["sha256"].to_pylist(), np.asarray(chosen["asin"].to_pylist())
    label = np.array([classes.index(name) for name in chosen["garment_class"].to_pylist()], np.int64)
    _refuse_few(label, classes, minimum, "")  # fail before reading any picture
    pixels = _cropped(store, shas, on_progress)
    relevance = relevance or RelevanceSettings()
    seen = embed(pixels) if relevance.asks_features else np.zeros((len(pixels), 1), np.float32)
    findings = irrelevant.find_irrelevant(seen, pixels, label, asins, relevance)
    stays, label_before = findings.kept, label
    discarded = _discarded(findings, pixels, label, classes)
    chosen, pixels, label, asins = chosen.filter(pa.array(stays)), pixels[stays], label[stays], asins[stays]
    keys = np.array([_hash(f"{seed}\0{sha}") for sha in chosen["sha256"].to_pylist()])
    kept = _capped(label, keys, len(classes), cap)
    held = np.zeros(len(label), bool)
    held[kept] = _held_out(asins[kept], label[kept], len(classes), held_out, minimum, seed)
    counts = {
        name: {
            "pictures": int((label_before == number).sum()),
            **{reason: int((findings.reason[label_before == number] == reason).sum()) for reason in irrelevant.REASONS},
            "kept": int((kept & (label == number)).sum()),
            "held_out": int((held & (label == number)).sum()),
        }
        for number, name in enumerate(classes)
    }
    taken = f" (after {(~stays).sum():,} pictures were discarded as irrelevant and {held_out:.0%} of products held out)"
    _refuse_few(label[kept & ~held], classes, minimum, taken)
    chosen = chosen.filter(pa.array(kept))
    columns = {
        "garment": pa.array(np.arange(chosen.num_rows, dtype=np.int32)),
        "held_out": pa.array(held[kept]),
        **{name: chosen[name] for name in ("asin", "item", "garment_class", "source", "sha256")},
    }
    table = pa.table([columns[n] for n in schemas.GARMENTS.names], schema=schemas.GARMENTS)
    return Garments(carrying(table, classes), pixels[kept], discarded, counts)


def _refuse_few(label: np.ndarray, classes: tuple[str, ...], minimum: int, when: str) -> None:
    """Raise InputError naming every class with fewer than `minimum` pictures, with its count."""
    count = np.bincount(label, minlength=len(classes))
    few = [f"{name} has {number}" for name, number in zip(classes, count, strict=True) if number < minimum]
    if few:
        raise InputError(
            f"too few pictures to train the generator: {', '.join(few)}; at least {minimum} a class are needed{when}. "
            "Add products, raise ops.image_urls.config.extra_per_class, lower ops.garments.config.minimum, or leave "
            "the class out of the garment classes (docs/configuration.md, Classes of your own)."
        )


def _cropped(store: PictureStore, shas: list[str], on_progress: Callable[[int, int], None] | None) -> np.ndarray:
    """Read and centre-crop the pictures of these contents: uint8 [n, 64, 64, 3]."""
    pixels = np.empty((len(shas), SIZE, SIZE, 3), np.uint8)
    row_of = {sha: row for row, sha in enumerate(shas)}
    for done, (sha, data) in enumerate(store.read(shas), start=1):
        pixels[row_of[sha]] = centre_crop(decode(data), SIZE)
        if on_progress is not None:
            on_progress(done, len(shas))
    return pixels


def _discarded(findings: Findings, pixels: np.ndarray, label: np.ndarray, classes: tuple[str, ...]) -> Discarded:
    gone = np.flatnonzero(~findings.kept)
    clear = {"outlier": -findings.distance, "other_class": findings.own_class, "near_duplicate": np.zeros(len(label))}
    ordered = sorted(gone, key=lambda row: (label[row], findings.reason[row], clear[findings.reason[row]][row], row))
    return Discarded(
        pixels[ordered],
        [classes[label[row]] for row in ordered],
        [str(findings.reason[row]) for row in ordered],
        [classes[findings.seen_as[row]] for row in ordered],
    )


def _candidates(image_urls: pa.Table, ledger: pa.Table, products: pa.Table, sources: tuple[str, ...]) -> pa.Table:
    """List the working pictures of products that have a class, one row per content, in a fixed order."""
    classed = products.filter(pc.is_valid(products["garment_class"])).select(["asin", "garment_class"])
    ok = keyed(ledger.filter(pc.equal(ledger["status"], "ok")).select(["url", "sha256"]))
    wanted = keyed(image_urls.filter(pc.is_in(image_urls["source"], value_set=pa.array(sources))))
    joined = wanted.join(ok, "url", join_type="inner").join(classed, "asin", join_type="inner")
    joined = joined.append_column("customer", pc.equal(joined["source"], "customer"))
    joined = joined.sort_by([(n, "ascending") for n in ("customer", "position", "asin", "url", "sha256")])
    _, first = np.unique(joined["sha256"].to_numpy(zero_copy_only=False), return_index=True)
    return joined.take(pa.array(np.sort(first)))


def _hash(text: str) -> float:
    """Hash a text to a uniform number in [0, 1)."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) / 2**64


def _held_out(asins: np.ndarray, label: np.ndarray, classes: int, share: float, minimum: int, seed: int) -> np.ndarray:
    """Mark rows of held-out products: those whose hash is below the share.

    At least one product of each class is held out. Beyond it, a class keeps `minimum` pictures if it has them: products
    with the greatest hashes are given back.
    """
    place = np.array([_hash(f"held\0{seed}\0{asin}") for asin in asins])
    held = np.zeros(len(label), bool)
    for number in range(classes if share > 0 else 0):
        rows = np.flatnonzero(label == number)
        products, first, pictures = np.unique(asins[rows], return_index=True, return_counts=True)
        order = np.argsort(place[rows][first], kind="stable")
        stay = len(rows) - np.cumsum(pictures[order])  # pictures left to train on, if so many products are held out
        below = place[rows][first][order] < share
        wanted = order[(below & (stay >= minimum)) | (np.arange(len(order)) == 0)]
        held[rows] = np.isin(asins[rows], products[wanted])
    return held


def _capped(label: np.ndarray, keys: np.ndarray, classes: int, cap: int) -> np.ndarray:
    """Mark the rows that stay under a cap over all classes, with each class keeping its share: bool [N]."""
    if len(label) <= cap:
        return np.ones(len(label), bool)
    kept = np.zeros(len(label), bool)
    sizes = np.bincount(label, minlength=classes)
    for number, size in enumerate(sizes):
        rows = np.flatnonzero(label == number)
        kept[rows[np.argsort(keys[rows], kind="stable")[: int(size * cap / len(label))]]] = True
    return kept
