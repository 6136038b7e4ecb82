"""Run one rank of a training: read the job, join the other ranks, train and print events.

An event is a line of JSON with one of these keys: `attempt` (an attempt starts), `progress`, `picture` (a file was
written), `error` (a restart would fail in the same way) or `failed` (any other failure: this process ends and torchrun
restarts all ranks).
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from models.dvbpr import train as train_dvbpr
from models.dvbpr.settings import DvbprSettings
from models.lsgan import train as train_lsgan
from models.lsgan.settings import LsganSettings
from models.training import device as devices
from models.training.divergence import DivergedError
from models.training.ranks import here, joined

PERMANENT = (ValueError, OSError, DivergedError)
_CHECK_EVERY = 1.0  # seconds between two checks that the parent process is alive


def main(arguments: list[str]) -> int:
    """Train the job in the folder named by the first argument."""
    folder = Path(arguments[0])
    job = json.loads((folder / "job.json").read_text())
    threading.Thread(target=_exit_with_parent, args=(os.getppid(), *job["parent"]), daemon=True).start()
    attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
    train = {"recommender": _recommender, "generator": _generator}[job["what"]]
    with joined(devices.resolve(job["device"]), f"file://{folder}/store-{attempt}") as device:
        if here().first:
            _send(attempt=int(attempt))
        try:
            train(job, folder, device)
        except PERMANENT as error:
            _send(error=str(error))
            return 1
        except Exception:
            _send(failed=traceback.format_exc())
            raise
    return 0


def _recommender(job: dict[str, Any], folder: Path, device: torch.device) -> None:
    settings, start = DvbprSettings.from_plain(job["settings"]), job["start"]
    train_dvbpr.train(
        train_dvbpr.Dataset.load(folder),
        settings,
        Path(job["out"]),
        device,
        lambda progress: _send(progress=asdict(progress)),
        Path(start) if start else None,
    )


def _generator(job: dict[str, Any], folder: Path, device: torch.device) -> None:
    # Imported here because it takes a second that the recommender does not need.
    from pipeline.core.generator.measure import kernel_to_training

    pictures, labels = np.load(folder / "pictures.npy", mmap_mode="r"), np.load(folder / "labels.npy")
    settings, out = LsganSettings(**job["settings"]), Path(job["out"])

    def picture(step: int, _: np.ndarray) -> None:
        _send(picture=step, file=str(out / (f"fakes_{step:06d}.png" if step else "fakes_init.png")))

    train_lsgan.train(
        pictures,
        labels,
        tuple(job["class_names"]),
        settings,
        out,
        device,
        lambda progress: _send(progress=asdict(progress)),
        picture,
        job["digest"],
        kernel_to_training(pictures, labels, settings, device),
    )


def _send(**event: Any) -> None:
    print(json.dumps(event), flush=True)


def _exit_with_parent(agent: int, pid: int, started: float) -> None:
    """End this process once the agent or the process that started the training is gone.

    Another process may then continue the training.
    """
    while os.getppid() == agent:
        try:
            process = psutil.Process(pid)
            lives = process.create_time() == started and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            lives = False
        if not lives:
            os.kill(agent, signal.SIGTERM)  # otherwise the agent would restart this rank
            break
        time.sleep(_CHECK_EVERY)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
