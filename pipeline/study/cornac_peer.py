"""Cornac's VBPR as a peer: in an environment of its own, on our pairs and features, measured by our evaluation.

Cornac is no dependency: it is installed under the home at its first use. Its code is run as released, although its
torch VBPR adds a (B,) to a (B, 1), so that its loss is over B x B differences, of which B are meant. Its knobs are
those of the release but for the number of epochs, or tuned on validation over a grid as ours are.
"""

import itertools
import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.baselines.simple import centred
from models.data.dataset import Dataset
from models.data.factors import Factors, item_means
from models.metrics import evaluate

PACKAGE, VERSION = "cornac", "3.0.1"
WORKER = Path(__file__).with_name("cornac_worker.py")


class PeerError(RuntimeError):
    """Cornac cannot be had here, or failed."""


@dataclass(frozen=True)
class CornacSettings:
    """The number of epochs is chosen on validation: its default, 50, is past its best on small data."""

    epochs: tuple[int, ...] = (5, 10, 20)
    version: str = VERSION

    def points(self) -> list[dict[str, float]]:
        """What is tried, as arguments of Cornac's VBPR: every point with every number of epochs."""
        return [{}]


@dataclass(frozen=True)
class TunedCornacSettings(CornacSettings):
    """All knobs that ours has are chosen on validation, in ranges like ours (`models/baselines/bpr.py`)."""

    epochs: tuple[int, ...] = (2, 4, 6, 8, 10, 12, 14, 16, 18, 20)
    k: int = 64  # latent factors, and as many visual ones
    batch_size: int = 128
    learning_rate: tuple[float, ...] = (0.001,)
    # As ours counts it, for one triplet; its loss counts a batch of B triplets B times, so this counts as often.
    regularisation: tuple[float, ...] = (0.1, 0.3, 1.0)

    def points(self) -> list[dict[str, float]]:
        """Every rate with every regulariser, which holds for factors, biases and projection alike."""
        fixed = {"k": self.k, "k2": self.k, "batch_size": self.batch_size}
        return [
            {**fixed, "learning_rate": rate} | dict.fromkeys(("lambda_w", "lambda_b", "lambda_e"), l2 * self.batch_size)
            for rate, l2 in itertools.product(self.learning_rate, self.regularisation)
        ]


def fit(
    data: Dataset,
    features: np.ndarray,  # [images, F]
    settings: CornacSettings,
    seed: int,
    home: Path,
    folder: Path,
    report: Callable[[int, int, str], None],
) -> tuple[Factors, dict[str, Any]]:
    """Cornac's VBPR at what does best on validation of what the settings try, as factors, and what was tried.

    It is given the train pairs alone, and one feature an item: the mean over its pictures, centred on the train items
    and scaled as our VBPR's are.

    Raises:
        PeerError: it could not be installed (no network?), or it failed; says what it said.
    """
    python = _installed(home / "peers" / f"{PACKAGE}-{VERSION}")
    folder.mkdir(parents=True, exist_ok=True)
    touched = np.concatenate([data.train, data.validation, data.test])
    best, best_auc, tried, points = None, -np.inf, [], settings.points()
    for done, point in enumerate(points):
        report(done, len(points), ", ".join(f"{name} {value}" for name, value in point.items()))
        trained = _trained(python, data, features, settings.epochs, point, seed, folder)
        for epochs, factors in zip(sorted(settings.epochs), trained, strict=True):
            auc = evaluate.exact_auc(factors, data.validation, touched)
            tried.append({**point, "epochs": epochs, "validation_auc": auc})
            if best is None or auc > best_auc:
                best, best_auc = factors, auc
    report(len(points), len(points), "")
    assert best is not None
    return best, {"grid": tried, "peer": f"{PACKAGE} {VERSION}"}


def _trained(
    python: Path,
    data: Dataset,
    features: np.ndarray,
    epochs: tuple[int, ...],
    point: dict[str, float],
    seed: int,
    folder: Path,
) -> list[Factors]:
    """One training's factors after each number of epochs, the fewest first."""
    source, target = folder / "given.npz", folder / "factors-of-peer.npz"
    item = item_means(centred(data, features), data.image_item, len(data.items))
    item /= max(float(np.sqrt((item[np.unique(data.train[:, 1])] ** 2).mean())), 1e-12)
    np.savez(
        source, train=data.train, features=item, users=len(data.users), items=len(data.items), seed=seed,
        epochs=epochs, knobs=json.dumps(point),
    )  # fmt: skip
    done = subprocess.run(
        [python, WORKER, source, target], capture_output=True, text=True, check=False, env=_with_our_packages()
    )
    if done.returncode:
        said = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise PeerError(f"{PACKAGE} {VERSION} failed with exit code {done.returncode}; it says:\n{said}")
    with np.load(target) as found:
        snapshots = [found[name] for name in ("theta", "item", "item_bias")]
    return [
        Factors(
            users=data.users,
            items=data.items,
            theta=theta,
            item=item,
            item_bias=bias,
            phi=np.zeros((0, theta.shape[1]), np.float32),
            image_item=data.image_item,
        )
        for theta, item, bias in zip(*snapshots, strict=True)
    ]


def _installed(folder: Path) -> Path:
    """The Python of an environment with Cornac; what it needs and we have is ours, torch for one."""
    python, ready = folder / "bin" / "python", folder / "ready.json"
    if ready.is_file():
        return python
    try:
        venv.create(folder, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{PACKAGE}=={VERSION}"]
        subprocess.run(pip, check=True, capture_output=True, text=True, env=_with_our_packages())
    except (subprocess.CalledProcessError, OSError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1:]
        raise PeerError(
            f"{PACKAGE} {VERSION} could not be installed into {folder}: {' '.join(said)}. It needs the package "
            "registry; without it, leave cornac_vbpr out of --models."
        ) from error
    ready.write_text(json.dumps({"version": VERSION, "python": sys.version}))
    return python


def _with_our_packages() -> dict[str, str]:
    """Told at every call: the environment stays in the home when the checkout that made it has gone."""
    return {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
