"""Write the embedded catalogue to a folder: reviews, metadata, pictures, the planted truth, and a manifest.

The files are `reviews.json.gz`, `products.json.gz`, `pictures/*.jpg`, `truth.npz` and `catalogue.json`.
"""

import gzip
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from pipeline.core.durable import write_whole
from pipeline.sample.amazon import high_name, low_name, photo_name, product_lines, review_lines
from pipeline.sample.others import draw
from pipeline.sample.photos import at_home, jpeg, low_resolution, studio
from pipeline.sample.plan import CataloguePlan, make_plan
from pipeline.sample.settings import SampleSettings
from pipeline.sample.shoppers import planted_auc

MANIFEST = "catalogue.json"
_VENDOR_QUALITY, _CUSTOMER_QUALITY = 85, 55


@dataclass(frozen=True)
class SampleCatalogue:
    """A written catalogue. planted_auc: AUC of the true utility on two random held-out purchases of each user."""

    folder: Path
    settings: SampleSettings
    counts: dict[str, int]
    planted_auc: float
    reused: bool  # the folder already held this catalogue, written by the same code from the same settings

    @property
    def reviews(self) -> Path:
        """Return the path of the reviews, gzipped JSON lines."""
        return self.folder / "reviews.json.gz"

    @property
    def products(self) -> Path:
        """Return the path of the metadata, gzipped JSON lines."""
        return self.folder / "products.json.gz"

    @property
    def pictures(self) -> Path:
        """Return the path of the folder of JPEG files."""
        return self.folder / "pictures"

    @property
    def truth(self) -> Path:
        """Return the path of the planted tastes: reviewer_id, theta, asin, item, item_bias."""
        return self.folder / "truth.npz"


def write_catalogue(out: Path, settings: SampleSettings) -> SampleCatalogue:
    """Draw and write the catalogue; the same settings give the same bytes.

    A folder that already holds this catalogue is not changed (`reused`). Raises FileExistsError if `out` holds other
    files.
    """
    fingerprint = {"settings": asdict(settings), "code": _code_digest()}
    old = _manifest(out)
    if old is None and out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} holds files that are no sample catalogue: name an empty folder, or remove it")
    if old is not None and old.get("fingerprint") == fingerprint and _whole(out, old):
        return SampleCatalogue(out, settings, old["counts"], old["planted_auc"], reused=True)
    out.mkdir(parents=True, exist_ok=True)
    _write_json(out / MANIFEST, {"unfinished": True})  # marks the folder as ours if we are interrupted
    shutil.rmtree(out / "pictures", ignore_errors=True)
    (out / "pictures").mkdir()
    plan = make_plan(settings)
    counts = _counts(plan)
    counts["pictures"] = _write_pictures(plan, out / "pictures")
    counts["review_lines"] = _write_lines(out / "reviews.json.gz", review_lines(plan))
    counts["product_lines"] = _write_lines(out / "products.json.gz", product_lines(plan))
    items = plan.items()
    np.savez(
        out / "truth.npz",
        reviewer_id=np.array(plan.reviewer_ids),
        theta=plan.shoppers.theta,
        asin=np.array([product.asin for product in plan.products[: settings.items]]),
        item=items,
        item_bias=plan.item_bias,
    )
    best = planted_auc(plan.shoppers.theta, items, plan.item_bias, plan.shoppers.purchases, users=settings.users)
    _write_json(out / MANIFEST, {"fingerprint": fingerprint, "counts": counts, "planted_auc": best})
    return SampleCatalogue(out, settings, counts, best, reused=False)


def open_catalogue(folder: Path) -> SampleCatalogue:
    """Open a catalogue written earlier; FileNotFoundError, with the command that writes one, if there is none."""
    manifest = _manifest(folder)
    if manifest is None or "fingerprint" not in manifest:
        raise FileNotFoundError(
            f"{folder} holds no finished sample catalogue: write one with "
            f"`python -m pipeline.sample write --out {folder}`"
        )
    settings = SampleSettings(**manifest["fingerprint"]["settings"])
    return SampleCatalogue(folder, settings, manifest["counts"], manifest["planted_auc"], reused=True)


def _write_pictures(plan: CataloguePlan, folder: Path) -> int:
    """Draw each product once, take all its pictures, and return the number of files written."""
    photos: dict[int, list[str]] = {}
    for review in plan.reviews:
        photos.setdefault(review.product, []).extend(review.photos)
    written = 0
    for row, product in enumerate(plan.products):
        rng = np.random.default_rng([plan.settings.seed, 2, row])
        garment = draw(product.style, rng)
        # A product without a metadata line or with an empty picture list has no vendor pictures.
        vendor = () if product.warts & {"no_metadata", "no_pictures"} else product.pictures
        for name, view in zip(vendor, product.views, strict=False):
            picture = studio(product.style, garment, view, rng)
            (folder / high_name(name)).write_bytes(jpeg(picture, _VENDOR_QUALITY))
            (folder / low_name(name)).write_bytes(jpeg(low_resolution(picture), _VENDOR_QUALITY))
        for name in photos.get(row, ()):
            (folder / photo_name(name)).write_bytes(jpeg(at_home(garment, rng), _CUSTOMER_QUALITY))
        written += 2 * len(vendor) + len(photos.get(row, ()))
    return written


def _counts(plan: CataloguePlan) -> dict[str, int]:
    """Count products, users, reviews and, by name, warts."""
    warts = Counter(wart for product in plan.products for wart in product.warts)
    return {
        "products": len(plan.products),
        "items": plan.settings.items,
        "reviewers": len(plan.reviewer_ids),
        "users": plan.settings.users,
        "reviews": len(plan.reviews),
        "reviews_with_photos": sum(bool(review.photos) for review in plan.reviews),
        **dict(sorted(warts.items())),
        **{name: len(rows) for name, rows in plan.review_warts.items()},
    }


def _write_lines(path: Path, lines: Iterable[bytes]) -> int:
    written = 0
    # Leave time and name out of the gzip header, so that the same lines give the same bytes.
    with path.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as zipped:
        for line in lines:
            zipped.write(line + b"\n")
            written += 1
    return written


def _write_json(path: Path, content: dict) -> None:
    write_whole(path, lambda temporary: temporary.write_text(json.dumps(content, indent=1) + "\n"))


def _manifest(folder: Path) -> dict | None:
    try:
        return json.loads((folder / MANIFEST).read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None


def _whole(folder: Path, manifest: dict) -> bool:
    files = ("reviews.json.gz", "products.json.gz", "truth.npz")
    return (
        all((folder / name).exists() for name in files)
        and (folder / "pictures").is_dir()
        and sum(1 for _ in os.scandir(folder / "pictures")) == manifest["counts"]["pictures"]
    )


def _code_digest() -> str:
    """Hash this package's source and the versions of the libraries that affect the bytes of the catalogue."""
    digest = hashlib.sha256(f"numpy {version('numpy')} pillow {version('pillow')}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
