"""Where everything lies under the home, and the immutable folders of trained models.

A trained model's folder is named by a digest of what made it (data, settings, code), so that the same inputs find
the same folder: a finished one is used again, an unfinished one is resumed, and nothing trained is overwritten.
Reading or writing a particular table or checkpoint belongs to the io manager and to `models/`.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from pipeline.core import digests
from pipeline.core.durable import write_whole
from pipeline.core.errors import DamagedFileError, InputError

MANIFEST = "manifest.json"
CURRENT, IN_USE = "current.json", "champion.json"  # beside the models of a kind: the newest one, the champion
# What makes the models of a kind, in words.
MADE_BY = {"recommender": "the recommender", "baselines": "baselines", "generator": "lsgan"}
WEIGHTS, LAST = ("*.pt", "*.npz"), "last.pt"  # what has digests in the manifest, and what changes as training goes on
ERASED = "erased.json"  # in the folder of a model that learnt from something erased


def digest(*parts: Any) -> str:
    """Sixteen hex digits of what the parts say; dataclasses count by their fields."""
    plain = [asdict(part) if is_dataclass(part) and not isinstance(part, type) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=2, sort_keys=True, default=str) + "\n"
    write_whole(path, lambda temporary: temporary.write_text(text))


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array to exactly this path (np.save would add an ending)."""
    with path.open("wb") as opened:
        np.save(opened, array)


class ModelFolder:
    """The folder of one trained model, below its kind (and image mode)."""

    def __init__(self, parent: Path, run: str):
        self.parent = parent
        self.run = run
        self.path = parent / run
        self.path.mkdir(parents=True, exist_ok=True)

    @property
    def finished(self) -> bool:
        """Whether training ended here: the manifest is written last."""
        return (self.path / MANIFEST).is_file() and not self.marked

    def manifest(self) -> dict[str, Any]:
        """What made this model: data digests, settings, counts."""
        return json.loads((self.path / MANIFEST).read_text())

    def expect(self, **inputs: str) -> None:
        """Check that the model was made from these tables.

        Raises:
            InputError: it was not; names every differing table with both digests, and the mend.
        """
        made_from = self.manifest()["inputs"]
        wrong = [
            f"{name} {made_from.get(name, 'none')}, now {value}"
            for name, value in inputs.items()
            if made_from.get(name) != value
        ]
        if wrong:
            raise InputError(
                f"the model in {self.path} was made from another catalogue ({'; '.join(wrong)}): materialise "
                f"{self.manifest()['asset']} again."
            )

    @property
    def opened(self) -> Path:
        """The folder, its files compared with the digests in the manifest; a model of an earlier version has none.

        Raises:
            InputError: a file is not what was written; says which, and the mend.
        """
        path = self.path / MANIFEST
        recorded = json.loads(path.read_text()).get("files", {}) if path.is_file() else {}
        bad = digests.wrong(self.path, recorded)
        if bad:
            raise DamagedFileError(f"{self.path}: {', '.join(bad)}: damaged or missing: {self.mend}")
        return self.path

    @property
    def mend(self) -> str:
        """What to do where its files are damaged."""
        made = self.manifest()
        mode = f" for image mode {made['image_mode']}" if made.get("image_mode") else ""
        pointer = self.parent / CURRENT
        return f"delete that folder, and {pointer} where it names it; then materialise {made['asset']}{mode}."

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest, with the digests of weights and factors, then move the pointer here."""
        names = [str(path.relative_to(self.path)) for kind in WEIGHTS for path in self.path.rglob(kind)]
        files = digests.of_files(self.path, [name for name in names if name != LAST])
        write_json(self.path / MANIFEST, {**manifest, "files": files})
        self.point()

    def point(self) -> None:
        """Make this the current model of its kind; those beside it that learnt from something erased go."""
        write_json(self.parent / CURRENT, {"run": self.run})
        for other in self.parent.glob(f"*/{ERASED}"):
            if other.parent.name != self.run:
                shutil.rmtree(other.parent)

    def set_champion(self, run: str) -> None:
        """Make the model of this run, which lies beside this one, the one in use: what is made for people is its."""
        write_json(self.parent / IN_USE, {"run": run})

    @property
    def marked(self) -> bool:
        """Whether it learnt from something that was erased since: it is not to be trained on from, nor used again."""
        return (self.path / ERASED).is_file()

    def mark(self, **why: str) -> None:
        """Say that it learnt from something that was erased."""
        write_json(self.path / ERASED, why)


class Storage(dg.ConfigurableResource):
    """The home's layout."""

    root: str

    @property
    def home(self) -> Path:
        """The home."""
        return Path(self.root)

    @property
    def tables(self) -> Path:
        """Parquet tables, one file an asset or partition."""
        return self.home / "tables"

    @property
    def staged(self) -> Path:
        """Tables that are being written, before they are moved into place."""
        return self.home / "staged"

    @property
    def five_core_scratch(self) -> Path:
        """What a killed 5-core of an earlier version left; nothing is written there any more."""
        return self.staged / "five_core"

    @property
    def parts(self) -> Path:
        """What each raw file came to, by kind: read again instead of the file as long as it says the same."""
        return self.home / "parts"

    @property
    def pictures(self) -> Path:
        """The ledger's parts and the picture shards."""
        return self.home / "pictures"

    @property
    def bank(self) -> Path:
        """The decoded pictures."""
        return self.home / "bank"

    def features(self, version: str) -> Path:
        """Frozen features of the bank's rows, one file a version."""
        return self.home / "features" / f"{version}.npy"

    def point_features(self, version: str, made_by: str, size: int) -> None:
        """Make these features the current ones.

        Args:
            version: the file's name.
            made_by: what makes features of a picture.
            size: pixels a side of the pictures that their network saw.
        """
        write_json(self.home / "features" / "current.json", {"run": version, "made_by": made_by, "size": size})

    def features_made_by(self) -> str:
        """What makes features of a picture, of the current ones."""
        return self._of_features("made_by")

    def current_features(self) -> Path:
        """The current features."""
        return self.features(self._of_features("run"))

    def features_size(self) -> int:
        """Pixels a side of the pictures that the current features are of."""
        return self._of_features("size")

    def _of_features(self, key: str) -> Any:
        pointer = self.home / "features" / "current.json"
        found = json.loads(pointer.read_text()) if pointer.is_file() else {}
        if key not in found:
            what = f"says no {key}" if found else "is not there"
            raise InputError(f"{pointer} {what}: materialise image_features again.")
        return found[key]

    def frozen_features(self, rows: int, bank_digest: str) -> np.ndarray:
        """Map the current features [rows of the bank, F].

        Raises:
            InputError: there are none, or they are of another bank.
        """
        path = self.current_features()
        found = np.load(path, mmap_mode="r")
        if len(found) != rows:
            raise InputError(
                f"{path} has features of {len(found):,} pictures, the bank {self.bank} has {rows:,} (digest "
                f"{bank_digest}): materialise image_features again."
            )
        digests.expect_rows(path, found, "delete it and materialise image_features again.")
        return found

    @property
    def garments(self) -> Path:
        """The generator's pictures."""
        return self.home / "garments"

    def save_garments(self, version: str, pixels: np.ndarray) -> None:
        """Keep the garments' pixels, uint8 [N, 64, 64, 3], under their table's digest; earlier versions go."""
        path = self.garments / f"{version}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda temporary: save_array(temporary, pixels))
        digests.write_sums(path, pixels)
        for other in self.garments.glob("*.npy*"):
            if other not in (path, digests.sums_path(path)):
                other.unlink()

    def load_garments(self, version: str) -> np.ndarray:
        """The pixels behind a garments table.

        Raises:
            InputError: there are none of that digest.
        """
        path = self.garments / f"{version}.npy"
        if not path.is_file():
            raise InputError(f"{path} is missing: materialise garments again.")
        pixels = np.load(path)
        digests.expect_rows(path, pixels, "delete it and materialise garments again.")
        return pixels

    @property
    def reports(self) -> Path:
        """Pictures and pages that people look at."""
        return self.home / "lookbook"

    def parent(self, kind: str, mode: str | None = None) -> Path:
        """The folder that holds the models of a kind (`recommender`, `baselines`, `generator`) and image mode."""
        return self.home / kind / mode if mode else self.home / kind

    def model(self, kind: str, run: str, mode: str | None = None) -> ModelFolder:
        """The folder of a model, made if need be."""
        return ModelFolder(self.parent(kind, mode), run)

    def made_before(self, kind: str, mode: str | None, **facts: Any) -> ModelFolder | None:
        """A finished model whose manifest holds these facts, the current one before others; None where there is none.

        For models that began from another: their folder's name alone does not say what they were made from.
        """
        parent = self.parent(kind, mode)
        current = _pointed(parent / CURRENT)
        for path in sorted(parent.glob(f"*/{MANIFEST}"), key=lambda path: (path.parent.name != current, path)):
            manifest = json.loads(path.read_text())
            found = ModelFolder(parent, path.parent.name)
            if not found.marked and all(manifest.get(name) == fact for name, fact in facts.items()):
                return found
        return None

    def current(self, kind: str, mode: str | None = None) -> ModelFolder:
        """The current model of its kind.

        Raises:
            InputError: there is none; says which asset makes it.
        """
        parent = self.parent(kind, mode)
        run = _pointed(parent / CURRENT)
        if not run:
            which = f"{MADE_BY[kind]} for image mode {mode}" if mode else MADE_BY[kind]
            raise InputError(f"no {kind} at {parent}: materialise {which} first.")
        return ModelFolder(parent, run)

    def in_use(self, kind: str, mode: str | None = None) -> ModelFolder:
        """The champion of its kind; the current model where there is no champion yet, or its folder is gone.

        Raises:
            InputError: there is no model; says which asset makes it.
        """
        parent = self.parent(kind, mode)
        run = _pointed(parent / IN_USE)
        if run and (parent / run / MANIFEST).is_file() and not (found := ModelFolder(parent, run)).marked:
            return found
        return self.current(kind, mode)


def _pointed(pointer: Path) -> str:
    """The run that a pointer names; empty where there is no pointer."""
    return json.loads(pointer.read_text())["run"] if pointer.is_file() else ""
