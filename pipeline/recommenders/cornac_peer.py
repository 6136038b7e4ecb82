"""Train Cornac's VBPR as a peer, in a separate environment, on this project's pairs and features.

Cornac is no dependency: it is installed under the home on first use. Its code runs as released, although its torch VBPR
adds a (B,) to a (B, 1) tensor, so its loss sums B x B differences where B are meant. Its settings are those of the
release except for the number of epochs, or tuned on validation over a grid like those of this project's VBPR.
"""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from models.baselines.simple import centred
from models.data.dataset import Dataset
from models.data.factors import Factors, item_means
from models.metrics import selection
from pipeline.recommenders.cornac_settings import VERSION, CornacSettings

PACKAGE = "cornac"
WORKER = Path(__file__).with_name("cornac_worker.py")


class PeerError(RuntimeError):
    """Cornac could not be installed, or failed."""


def fit(
    data: Dataset,
    features: np.ndarray,  # [images, F]
    settings: CornacSettings,
    seed: int,
    home: Path,
    folder: Path,
    report: Callable[[int, int, str], None],
) -> tuple[Factors, dict[str, Any]]:
    """Train Cornac's VBPR at every point of the settings; return the best factors on validation, and all results.

    It gets only the train pairs and one feature per item: the mean over its pictures, centred on the train items and
    scaled as for this project's VBPR.

    Raises:
        PeerError: it could not be installed (no network?), or it failed; the message quotes its output.
    """
    python = _installed(home / "peers" / f"{PACKAGE}-{VERSION}")
    folder.mkdir(parents=True, exist_ok=True)
    touched = np.concatenate([data.train, data.validation, data.test])
    best, best_value, tried, points = None, -np.inf, [], settings.points()
    by = selection.name_of(len(data.validation))
    for done, point in enumerate(points):
        report(done, len(points), ", ".join(f"{name} {value}" for name, value in point.items()))
        trained = _trained(python, data, features, settings.epochs, point, seed, folder)
        for epochs, factors in zip(sorted(settings.epochs), trained, strict=True):
            figures = selection.measures(factors, data.validation, touched)
            tried.append({**point, "epochs": epochs, **selection.row_of(figures)})
            if best is None or figures[by] > best_value:
                best, best_value = factors, figures[by]
    report(len(points), len(points), "")
    assert best is not None
    return best, {"grid": tried, "selected_by": by, "peer": f"{PACKAGE} {VERSION}"}


def _trained(
    python: Path,
    data: Dataset,
    features: np.ndarray,
    epochs: tuple[int, ...],
    point: dict[str, float],
    seed: int,
    folder: Path,
) -> list[Factors]:
    """Train once; return the factors after each number of epochs, the fewest first."""
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
        raise PeerError(f"{PACKAGE} {VERSION} failed with exit code {done.returncode}:\n{said}")
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
    """Return the Python of an environment with Cornac, creating it if needed; it shares our packages, such as torch."""
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
    """Return the environment variables that add our packages; set per call, as the home may outlive this checkout."""
    return {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
