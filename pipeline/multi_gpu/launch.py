"""Trains on several GPUs of this machine: starts the ranks by torchrun, tells what they tell, waits for them.

Ranks are processes of `rank_worker.py`; what they compute is `models/`, and with one rank that is called here, in this
process. A rank that is killed is started again with the others, from the last checkpoint. Over several machines,
torchrun is started by hand (docs/scale.md).
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import psutil
import torch

from models.data.dataset import Dataset
from models.dvbpr import train as train_dvbpr
from models.dvbpr.settings import DvbprSettings
from models.lsgan import train as train_lsgan
from models.lsgan.settings import LsganSettings
from pipeline.core.generator.measure import kernel_to_training
from pipeline.views import sheets

ROOT = Path(__file__).parents[2]
RESTARTS = 3  # of all ranks, after one was killed or fell over
JOB = "job.json"
_LAST_WORDS = 15  # lines of the ranks' errors that a failure quotes


class RanksFailedError(RuntimeError):
    """Training on several ranks failed; says what they said."""


def train_recommender(
    data: Dataset,
    settings: DvbprSettings,
    out: Path,
    device: torch.device,
    on_progress: Callable[[train_dvbpr.Progress], None],
    start: Path | None,
    ranks: int,
) -> train_dvbpr.Trained:
    """As `train_dvbpr.train`, on `ranks` ranks.

    Raises:
        RanksFailedError: they failed, by a fault of the training or more often than they may.
    """
    if ranks == 1:
        return train_dvbpr.train(data, settings, out, device, on_progress, start)
    with _room() as room:
        data.save(room, link=True)

        def heard(event: dict[str, Any]) -> None:
            if "progress" in event:
                on_progress(train_dvbpr.Progress(**event["progress"]))

        job = {"what": "recommender", "settings": settings.plain(), "start": start and str(start)}
        _run(room, {**job, "out": str(out), "device": device.type}, ranks, heard)
    trained = train_dvbpr.train(data, settings, out, device)  # finds it finished
    return replace(trained, notes=[*trained.notes, f"by {ranks} ranks"])


def train_generator(
    pictures: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    settings: LsganSettings,
    out: Path,
    device: torch.device,
    on_progress: Callable[[train_lsgan.Progress], None],
    on_images: Callable[[int, np.ndarray], None],
    data_digest: str,
    ranks: int,
) -> None:
    """As `train_lsgan.train` with the measure of `generator_measure.py`, on `ranks` ranks.

    Raises:
        RanksFailedError: they failed, by a fault of the training or more often than they may.
    """
    if ranks == 1:
        measure = kernel_to_training(pictures, labels, settings, device)
        train_lsgan.train(
            pictures, labels, class_names, settings, out, device, on_progress, on_images, data_digest, measure
        )
        return
    with _room() as room:
        np.save(room / "pictures.npy", pictures)
        np.save(room / "labels.npy", labels)

        def heard(event: dict[str, Any]) -> None:
            if "progress" in event:
                on_progress(train_lsgan.Progress(**event["progress"]))
            if "picture" in event:
                on_images(event["picture"], sheets.load(Path(event["file"])))

        job = {"what": "generator", "settings": asdict(settings), "class_names": class_names, "digest": data_digest}
        _run(room, {**job, "out": str(out), "device": device.type}, ranks, heard)


@contextlib.contextmanager
def _room() -> Generator[Path]:
    """A folder of our own for what the ranks are given and for where they find each other."""
    with tempfile.TemporaryDirectory(prefix="atelier-ranks-") as room:
        yield Path(room)


def _run(room: Path, job: dict[str, Any], ranks: int, heard: Callable[[dict[str, Any]], None]) -> None:
    """Start the ranks on the job, hand on what they say, and wait until they are done.

    They find each other through a file and talk over loopback: nothing listens to the outside.
    """
    me = psutil.Process()
    job = {**job, "ranks": ranks, "parent": [me.pid, me.create_time()]}
    (room / JOB).write_text(json.dumps(job))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks)]
    command += ["--max-restarts", str(RESTARTS), "--rdzv-id", room.name, "--rdzv-backend", "c10d"]
    command += ["--rdzv-endpoint", str(room / "rendezvous"), "--rdzv-conf", "store_type=file"]
    command += ["-m", "pipeline.multi_gpu.worker", str(room)]
    environment = {**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))
    with (room / "errors").open("w") as errors:
        agent = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
        failed = ""  # what the first rank said that failed in this attempt; the others then lose it, and say so
        try:
            assert agent.stdout is not None
            for line in agent.stdout:
                event = _read(line)
                if "error" in event:
                    raise RanksFailedError(event["error"])
                failed = "" if "attempt" in event else failed or event.get("failed", "")
                if event.get("attempt"):
                    dg.get_dagster_logger().warning(
                        f"a rank was lost; all {ranks} begin again at the last checkpoint "
                        f"({event['attempt']} of {RESTARTS} times)"
                    )
                heard(event)
            code = agent.wait()
        finally:
            _end(agent)
    if code:
        said = "\n".join((failed or (room / "errors").read_text()).strip().splitlines()[-_LAST_WORDS:])
        raise RanksFailedError(
            f"training on {ranks} ranks ended with exit code {code} after {RESTARTS} restarts at most; run again, it "
            f"goes on from the last checkpoint in {job['out']}. The last words:\n{said}"
        )


def _read(line: str) -> dict[str, Any]:
    """An event, or nothing where a library printed something."""
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _end(agent: subprocess.Popen[str]) -> None:
    """See the agent and its ranks off, whatever state they are in."""
    if agent.poll() is None:
        agent.terminate()
        try:
            agent.wait(30)
        except subprocess.TimeoutExpired:
            agent.kill()
            agent.wait()
