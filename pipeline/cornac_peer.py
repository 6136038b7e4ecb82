"""Cornac's VBPR as a peer: in an environment of its own, on our pairs and features, measured by our evaluation.

Cornac is no dependency: it is installed under the home at its first use. It is run as released, with the defaults of
its release, although its torch VBPR adds a (B,) to a (B, 1), so that its loss is over B x B differences, of which B
are meant. Only the number of epochs is chosen, on validation: its default, 50, is past its best on small data.
"""

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

from models import evaluate
from models.baselines import centred
from models.dvbpr_dataset import Dataset
from models.factors import Factors, item_means

PACKAGE, VERSION = "cornac", "3.0.1"
WORKER = Path(__file__).with_name("cornac_worker.py")


class PeerError(RuntimeError):
    """Cornac cannot be had here, or failed."""


@dataclass(frozen=True)
class CornacSettings:
    """What is chosen on validation; all else is as released."""

    epochs: tuple[int, ...] = (5, 10, 20)
    version: str = VERSION


def fit(
    data: Dataset,
    features: np.ndarray,  # [images, F]
    settings: CornacSettings,
    seed: int,
    home: Path,
    folder: Path,
    report: Callable[[int, int, str], None],
) -> tuple[Factors, dict[str, Any]]:
    """Cornac's VBPR with the number of epochs that does best on validation, as factors, and what was tried.

    It is given the train pairs alone, and one feature an item: the mean over its pictures, centred on the train items
    and scaled as our VBPR's are.

    Raises:
        PeerError: it could not be installed (no network?), or it failed; says what it said.
    """
    python = _installed(home / "peers" / f"{PACKAGE}-{VERSION}")
    folder.mkdir(parents=True, exist_ok=True)
    touched = np.concatenate([data.train, data.validation, data.test])
    best, best_auc, tried = None, -np.inf, []
    for done, epochs in enumerate(settings.epochs):
        report(done, len(settings.epochs), f"{epochs} epochs")
        factors = _trained(python, data, features, epochs, seed, folder)
        auc = evaluate.exact_auc(factors, data.validation, touched)
        tried.append({"epochs": epochs, "validation_auc": auc})
        if best is None or auc > best_auc:
            best, best_auc = factors, auc
    report(len(settings.epochs), len(settings.epochs), "")
    assert best is not None
    return best, {"grid": tried, "peer": f"{PACKAGE} {VERSION}, as released"}


def _trained(python: Path, data: Dataset, features: np.ndarray, epochs: int, seed: int, folder: Path) -> Factors:
    source, target = folder / "given.npz", folder / "factors-of-peer.npz"
    item = item_means(centred(data, features), data.image_item, len(data.items))
    item /= max(float(np.sqrt((item[np.unique(data.train[:, 1])] ** 2).mean())), 1e-12)
    np.savez(
        source, train=data.train, features=item, users=len(data.users), items=len(data.items), seed=seed, epochs=epochs
    )
    done = subprocess.run([python, WORKER, source, target], capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise PeerError(f"{PACKAGE} {VERSION} failed with exit code {done.returncode}; it says:\n{said}")
    with np.load(target) as found:
        theta, item, bias = found["theta"], found["item"], found["item_bias"]
    return Factors(
        users=data.users,
        items=data.items,
        theta=theta,
        item=item,
        item_bias=bias,
        phi=np.zeros((0, theta.shape[1]), np.float32),
        image_item=data.image_item,
    )


def _installed(folder: Path) -> Path:
    """The Python of an environment with Cornac, which sees our packages too: torch is not installed a second time."""
    python, ready = folder / "bin" / "python", folder / "ready.json"
    if ready.is_file():
        return python
    try:
        venv.create(folder, with_pip=True, clear=True)
        inside = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        Path(inside, "outer.pth").write_text(sysconfig.get_path("purelib") + os.linesep)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{PACKAGE}=={VERSION}"]
        subprocess.run(pip, check=True, capture_output=True, text=True)
    except (subprocess.CalledProcessError, OSError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1:]
        raise PeerError(
            f"{PACKAGE} {VERSION} could not be installed into {folder}: {' '.join(said)}. It needs the package "
            "registry; without it, leave cornac_vbpr out of --models."
        ) from error
    ready.write_text(json.dumps({"version": VERSION, "python": sys.version}))
    return python
