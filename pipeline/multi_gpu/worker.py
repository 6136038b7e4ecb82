"""One rank of a training that `ranked.py` started: reads the job, joins the others, trains, prints events.

An event is a line of JSON: which attempt begins, progress, a picture that was written, an error that another attempt
would meet again, or what else went wrong: then the process ends, and torchrun starts all ranks again.
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
from models.training.ranks import here, joined

PERMANENT = (ValueError, OSError, train_dvbpr.DivergedError, train_lsgan.DivergenceError)
_LOOK = 1.0  # seconds between two looks whether who started this still lives


def main(arguments: list[str]) -> int:
    """Train as the room's job says."""
    room = Path(arguments[0])
    job = json.loads((room / "job.json").read_text())
    threading.Thread(target=_leave_with, args=(os.getppid(), *job["parent"]), daemon=True).start()
    attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
    train = {"recommender": _recommender, "generator": _generator}[job["what"]]
    with joined(devices.resolve(job["device"]), f"file://{room}/store-{attempt}") as device:
        if here().first:
            _say(attempt=int(attempt))
        try:
            train(job, room, device)
        except PERMANENT as error:
            _say(error=str(error))
            return 1
        except Exception:
            _say(failed=traceback.format_exc())
            raise
    return 0


def _recommender(job: dict[str, Any], room: Path, device: torch.device) -> None:
    settings, start = DvbprSettings.from_plain(job["settings"]), job["start"]
    train_dvbpr.train(
        train_dvbpr.Dataset.load(room),
        settings,
        Path(job["out"]),
        device,
        lambda progress: _say(progress=asdict(progress)),
        Path(start) if start else None,
    )


def _generator(job: dict[str, Any], room: Path, device: torch.device) -> None:
    from pipeline.core.generator.measure import (
        kernel_to_training,  # a second's import that the recommender does not need
    )

    pictures, labels = np.load(room / "pictures.npy", mmap_mode="r"), np.load(room / "labels.npy")
    settings, out = LsganSettings(**job["settings"]), Path(job["out"])

    def picture(step: int, _: np.ndarray) -> None:
        _say(picture=step, file=str(out / (f"fakes_{step:06d}.png" if step else "fakes_init.png")))

    train_lsgan.train(
        pictures,
        labels,
        tuple(job["class_names"]),
        settings,
        out,
        device,
        lambda progress: _say(progress=asdict(progress)),
        picture,
        job["digest"],
        kernel_to_training(pictures, labels, settings, device),
    )


def _say(**event: Any) -> None:
    print(json.dumps(event), flush=True)


def _leave_with(agent: int, pid: int, started: float) -> None:
    """End this process once the agent, or the process that started the training, is gone: another may go on with it."""
    while os.getppid() == agent:
        try:
            process = psutil.Process(pid)
            lives = process.create_time() == started and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            lives = False
        if not lives:
            os.kill(agent, signal.SIGTERM)  # or it would start us again
            break
        time.sleep(_LOOK)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
