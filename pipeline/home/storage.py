"""The layout of the home, and the immutable folders of trained models.

A model's folder is named by a digest of its data, settings and code, so that equal inputs find the same folder: a
finished model is reused, an unfinished one is resumed, and none is overwritten. The io manager reads and writes
tables, and `models/` checkpoints.
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
CURRENT, IN_USE = "current.json", "champion.json"  # pointers beside the models of a kind
SEES_IN_USE = "champion-visual.json"  # the recommender that scores new pictures
BASELINES = "baselines"  # the kind whose folders hold several models each
NAMED = "recommender"  # the kind of which a mode may have several, each with a pointer of its own
# The assets that train the models of a kind, in words.
MADE_BY = {"recommender": "the recommender", "baselines": "baselines", "generator": "lsgan"}
WEIGHTS, LAST = ("*.pt", "*.npz"), "last.pt"  # files with digests in the manifest; a file that training keeps changing
ERASED = "erased.json"  # in the folder of a model that was trained on erased data


def digest(*parts: Any) -> str:
    """Hash values to sixteen hex digits; dataclasses are hashed by their fields."""
    plain = [asdict(part) if is_dataclass(part) and not isinstance(part, type) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]


def own_pointer(name: str) -> str:
    """Name the file that points to a recommender's own newest model."""
    return f"current-{name}.json"


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, with sorted keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=2, sort_keys=True, default=str) + "\n"
    write_whole(path, lambda temporary: temporary.write_text(text))


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array to exactly this path (np.save would add a suffix)."""
    with path.open("wb") as opened:
        np.save(opened, array)


class ModelFolder:
    """The folder of one trained model, inside the folder of its kind (and image mode)."""

    def __init__(self, parent: Path, run: str):
        self.parent = parent
        self.run = run
        self.path = parent / run
        self.path.mkdir(parents=True, exist_ok=True)

    @property
    def finished(self) -> bool:
        """Return whether training finished: the manifest is written last."""
        return (self.path / MANIFEST).is_file() and not self.marked

    def manifest(self) -> dict[str, Any]:
        """Read what the model was made from: data digests, settings, counts."""
        return json.loads((self.path / MANIFEST).read_text())

    def expect(self, **inputs: str) -> None:
        """Check that the model was made from these tables.

        Raises:
            InputError: it was not; the message names every differing table with both digests, and what to do.
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
    def verified(self) -> Path:
        """The path, after its files are compared with the manifest's digests; earlier versions wrote none.

        Raises:
            InputError: a file is missing or has changed; the message says which, and what to do.
        """
        path = self.path / MANIFEST
        recorded = json.loads(path.read_text()).get("files", {}) if path.is_file() else {}
        bad = digests.mismatched(self.path, recorded)
        if bad:
            raise DamagedFileError(f"{self.path}: {', '.join(bad)}: damaged or missing: {self.how_to_repair}")
        return self.path

    @property
    def how_to_repair(self) -> str:
        """Instructions for a person whose model has damaged files."""
        made = self.manifest()
        mode = f" for image mode {made['image_mode']}" if made.get("image_mode") else ""
        names = [CURRENT, own_pointer(self.recommender)] if self.recommender else [CURRENT]
        pointers = " and ".join(str(self.parent / name) for name in names)
        return f"delete that folder, and {pointers} if it names it; then materialise {made['asset']}{mode}."

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest, with the digests of weights and factors, and make this the current model."""
        names = [str(path.relative_to(self.path)) for kind in WEIGHTS for path in self.path.rglob(kind)]
        files = digests.file_digests(self.path, [name for name in names if name != LAST])
        write_json(self.path / MANIFEST, {**manifest, "files": files})
        self.make_current()

    @property
    def recommender(self) -> str:
        """Return the name of the recommender that this is a model of; empty for other kinds."""
        if self.parent.parent.name != NAMED or not (self.path / MANIFEST).is_file():
            return ""
        manifest = self.manifest()
        return manifest.get("model") or manifest["asset"]  # the first versions wrote no `model`

    def make_current(self) -> None:
        """Make this the newest model of its kind and of its recommender; delete others trained on erased data.

        Earlier versions wrote one pointer for all recommenders. Write that of the model which was newest before, so
        that it is still found.
        """
        before = _pointed(self.parent / CURRENT)
        for run in (before, self.run):
            if run and (self.parent / run / MANIFEST).is_file() and (name := ModelFolder(self.parent, run).recommender):
                own = self.parent / own_pointer(name)
                if run == self.run or not own.is_file():
                    write_json(own, {"run": run})
        write_json(self.parent / CURRENT, {"run": self.run})
        for other in self.parent.glob(f"*/{ERASED}"):
            if other.parent.name != self.run:
                shutil.rmtree(other.parent)
                for pointer in self.parent.glob(own_pointer("*")):
                    if _pointed(pointer) == other.parent.name:
                        pointer.unlink()

    def set_champion(self, run: str) -> None:
        """Make a run's model the champion of this kind."""
        write_json(self.parent / IN_USE, {"run": run})

    @property
    def marked(self) -> bool:
        """Whether it was trained on data erased since: then it is neither resumed nor reused."""
        return (self.path / ERASED).is_file()

    def mark(self, **why: str) -> None:
        """Record that it was trained on data erased since."""
        write_json(self.path / ERASED, why)


class Baseline(ModelFolder):
    """One baseline inside the folder of a mode's baselines. Its run is `RUN/NAME`; its manifest is that of all."""

    def __init__(self, parent: Path, run: str):
        self.parent, self.run, self.path = parent, run, parent / run
        whole, _, self._name = run.partition("/")
        self._whole = ModelFolder(parent, whole)

    @property
    def finished(self) -> bool:
        """Return whether all baselines were trained, this one among them."""
        return self._whole.finished and self.path.is_dir()

    def manifest(self) -> dict[str, Any]:
        """Read the manifest of all baselines, with this one's name as `model`."""
        return {**self._whole.manifest(), "model": self._name}

    @property
    def verified(self) -> Path:
        """The path, after the files of all baselines are compared with their digests. Raises as a model's folder."""
        return self._whole.verified / self._name

    @property
    def marked(self) -> bool:
        """Whether it was trained on data erased since."""
        return self._whole.marked

    @property
    def recommender(self) -> str:
        """Return its name."""
        return self._name


class Storage(dg.ConfigurableResource):
    """The layout of the home."""

    root: str

    @property
    def home(self) -> Path:
        """The home."""
        return Path(self.root)

    @property
    def tables(self) -> Path:
        """Parquet tables, one file per asset or partition."""
        return self.home / "tables"

    @property
    def staged(self) -> Path:
        """Unfinished tables, which are moved into place when complete."""
        return self.home / "staged"

    @property
    def five_core_scratch(self) -> Path:
        """What a killed 5-core of an earlier version left; nothing is written there any more."""
        return self.staged / "five_core"

    @property
    def parts(self) -> Path:
        """The parsed rows of each raw file, by kind; reused until the file changes."""
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
        """Frozen features of the bank's rows, one file per version."""
        return self.home / "features" / f"{version}.npy"

    def feature_network(self, version: str) -> Path:
        """File of a network other than the default that made frozen features."""
        return self.home / "features" / f"network-{version}.pt"

    def set_current_features(self, version: str, made_by: str, size: int, network: str = "") -> None:
        """Make these features the current ones.

        Args:
            version: name of the file.
            made_by: the network that made them.
            size: side in pixels of the pictures that the network saw.
            network: version of the network's file; empty for the default one.
        """
        content = {"run": version, "made_by": made_by, "size": size, "network": network}
        write_json(self.home / "features" / "current.json", content)

    def current_feature_network(self) -> Path | None:
        """Find the file of the network of the current features; None for the default one."""
        pointer = self.home / "features" / "current.json"
        version = json.loads(pointer.read_text()).get("network") if pointer.is_file() else ""
        return self.feature_network(version) if version else None

    def features_made_by(self) -> str:
        """Read which network made the current features."""
        return self._of_features("made_by")

    def current_features(self) -> Path:
        """Find the file of the current features."""
        return self.features(self._of_features("run"))

    def features_size(self) -> int:
        """Read the side in pixels of the pictures that the current features were made from."""
        return self._of_features("size")

    def _of_features(self, key: str) -> Any:
        pointer = self.home / "features" / "current.json"
        found = json.loads(pointer.read_text()) if pointer.is_file() else {}
        if key not in found:
            what = f"has no {key}" if found else "is missing"
            raise InputError(f"{pointer} {what}: materialise image_features again.")
        return found[key]

    def frozen_features(self, rows: int, bank_digest: str) -> np.ndarray:
        """Memory-map the current features [rows of the bank, F].

        Raises:
            InputError: there are none, or they belong to another bank.
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

    def facts(self, version: str) -> Path:
        """Facts of the 5-core's items, one file per version."""
        return self.home / "features" / f"facts-{version}.npz"

    def set_current_facts(self, version: str) -> None:
        """Make these facts the current ones, and delete others."""
        write_json(self.home / "features" / "facts.json", {"run": version})
        for other in (self.home / "features").glob("facts-*.npz"):
            if other != self.facts(version):
                other.unlink()

    def facts_version(self) -> str:
        """Read the version of the current facts.

        Raises:
            InputError: there are none.
        """
        version = _pointed(pointer := self.home / "features" / "facts.json")
        if not version or not self.facts(version).is_file():
            raise InputError(f"{pointer} is missing, or its file is: materialise item_facts first.")
        return version

    @property
    def garments(self) -> Path:
        """The generator's pictures."""
        return self.home / "garments"

    def save_garments(self, version: str, pixels: np.ndarray) -> None:
        """Store the garments' pixels, uint8 [N, 64, 64, 3], under their table's digest; delete earlier versions."""
        path = self.garments / f"{version}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda temporary: save_array(temporary, pixels))
        digests.write_sums(path, pixels)
        for other in self.garments.glob("*.npy*"):
            if other not in (path, digests.sums_path(path)):
                other.unlink()

    def load_garments(self, version: str) -> np.ndarray:
        """Load the pixels of a garments table, by its digest.

        Raises:
            InputError: they are missing or damaged.
        """
        path = self.garments / f"{version}.npy"
        if not path.is_file():
            raise InputError(f"{path} is missing: materialise garments again.")
        pixels = np.load(path)
        digests.expect_rows(path, pixels, "delete it and materialise garments again.")
        return pixels

    @property
    def reports(self) -> Path:
        """Pictures and pages for people."""
        return self.home / "lookbook"

    def parent(self, kind: str, mode: str | None = None) -> Path:
        """Return the folder of the models of a kind (`recommender`, `baselines`, `generator`) and image mode."""
        return self.home / kind / mode if mode else self.home / kind

    def model(self, kind: str, run: str, mode: str | None = None) -> ModelFolder:
        """Return the folder of a model; create it if it is missing."""
        return ModelFolder(self.parent(kind, mode), run)

    def find_finished(self, kind: str, mode: str | None, **wanted: Any) -> ModelFolder | None:
        """Find a finished model whose manifest has these values, preferring the current one; None if there is none.

        Needed for models with a warm start, whose folder name depends on the model that they started from.
        """
        parent = self.parent(kind, mode)
        current = {_pointed(path) for path in (parent / CURRENT, *parent.glob(own_pointer("*")))}
        for path in sorted(parent.glob(f"*/{MANIFEST}"), key=lambda path: (path.parent.name not in current, path)):
            manifest = json.loads(path.read_text())
            found = ModelFolder(parent, path.parent.name)
            if not found.marked and all(manifest.get(name) == value for name, value in wanted.items()):
                return found
        return None

    def current(self, kind: str, mode: str | None = None) -> ModelFolder:
        """Find the newest model of a kind; of recommenders, whichever was trained last.

        Raises:
            InputError: there is none; the message says which asset makes it.
        """
        parent = self.parent(kind, mode)
        run = _pointed(parent / CURRENT)
        if not run:
            which = f"{MADE_BY[kind]} for image mode {mode}" if mode else MADE_BY[kind]
            raise InputError(f"no {kind} at {parent}: materialise {which} first.")
        return ModelFolder(parent, run)

    def newest_of(self, recommender: str, mode: str) -> ModelFolder | None:
        """Find a recommender's own newest model in an image mode; None if it was not trained there.

        Homes of earlier versions have one pointer for all recommenders; the model's manifest says whose it is.
        """
        parent = self.parent(NAMED, mode)
        run = _pointed(parent / own_pointer(recommender)) or _pointed(parent / CURRENT)
        if not run or not (parent / run / MANIFEST).is_file():
            return None
        folder = ModelFolder(parent, run)
        return folder if folder.recommender == recommender else None

    def recommender(self, mode: str, run: str) -> ModelFolder | None:
        """Find a finished main recommender by its run, or a baseline by `RUN/NAME`; None if it does not exist."""
        kind, made = (BASELINES, Baseline) if "/" in run else (NAMED, ModelFolder)
        parent = self.parent(kind, mode)
        if not run or not (parent / run.partition("/")[0] / MANIFEST).is_file() or not (parent / run).is_dir():
            return None
        return made(parent, run)

    def set_recommender_champions(self, mode: str, lists: str, sees: str) -> None:
        """Make two runs the champions of a mode: the one that makes the lists, and the one that scores new pictures."""
        write_json(self.parent(NAMED, mode) / IN_USE, {"run": lists})
        write_json(self.parent(NAMED, mode) / SEES_IN_USE, {"run": sees})

    def recommender_in_use(self, mode: str, sees: bool = False) -> ModelFolder:
        """Find the recommender that makes a mode's lists or, if `sees`, the one that scores new pictures.

        Without a champion, or if its folder is gone, it is the newest main recommender. Earlier versions had one
        champion for both.

        Raises:
            InputError: there is no model; the message says which asset makes it.
        """
        parent = self.parent(NAMED, mode)
        for pointer in (SEES_IN_USE, IN_USE) if sees else (IN_USE,):
            found = self.recommender(mode, _pointed(parent / pointer))
            if found is not None and not found.marked and not (sees and isinstance(found, Baseline)):
                return found
        return self.current(NAMED, mode)

    def in_use(self, kind: str, mode: str | None = None) -> ModelFolder:
        """Find the champion of a kind, or the current model if there is no champion or its folder is gone.

        Raises:
            InputError: there is no model; the message says which asset makes it.
        """
        parent = self.parent(kind, mode)
        run = _pointed(parent / IN_USE)
        if run and (parent / run / MANIFEST).is_file() and not (found := ModelFolder(parent, run)).marked:
            return found
        return self.current(kind, mode)


def _pointed(pointer: Path) -> str:
    """Read the run that a pointer names; empty if there is no pointer."""
    return json.loads(pointer.read_text())["run"] if pointer.is_file() else ""
