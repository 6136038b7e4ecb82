"""Train on several GPUs of this machine: start the ranks with torchrun, pass on their progress and wait for them.

A single rank trains in this process. If a rank is killed, all ranks start again from the last checkpoint. To train on
several machines, start torchrun by hand (docs/scale.md).
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
from PIL import Image

from models.data.dataset import Dataset
from models.dvbpr import train as train_dvbpr
from models.dvbpr.settings import DvbprSettings
from models.lsgan import train as train_lsgan
from models.lsgan.settings import LsganSettings
from models.training.progress import Progress
from pipeline.core.generator.measure import kernel_to_training

ROOT = Path(__file__).parents[2]
RESTARTS = 3  # how often all ranks are restarted after one was killed or crashed
JOB = "job.json"
_QUOTED_LINES = 15  # last lines of the ranks' errors that a failure quotes


class RanksFailedError(RuntimeError):
    """Training on several ranks failed; the message quotes the ranks' errors."""


def train_recommender(
    data: Dataset,
    settings: DvbprSettings,
    out: Path,
    device: torch.device,
    on_progress: Callable[[Progress], None],
    start: Path | None,
    ranks: int,
) -> train_dvbpr.TrainedDvbpr:
    """Run `train_dvbpr.train` on `ranks` ranks.

    Raises:
        RanksFailedError: the training itself failed, or ranks were lost more than `RESTARTS` times.
    """
    if ranks == 1:
        return train_dvbpr.train(data, settings, out, device, on_progress, start)
    with _exchange_folder() as folder:
        data.save(folder, link=True)

        def on_event(event: dict[str, Any]) -> None:
            if "progress" in event:
                on_progress(Progress(**event["progress"]))

        job = {"what": "recommender", "settings": settings.plain(), "start": start and str(start)}
        _run(folder, {**job, "out": str(out), "device": device.type}, ranks, on_event)
    trained = train_dvbpr.train(data, settings, out, device)  # only loads: the training is finished
    return replace(trained, notes=[*trained.notes, f"by {ranks} ranks"])


def train_generator(
    pictures: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    settings: LsganSettings,
    out: Path,
    device: torch.device,
    on_progress: Callable[[Progress], None],
    on_images: Callable[[int, np.ndarray], None],
    data_digest: str,
    ranks: int,
) -> None:
    """Run `train_lsgan.train` with the measure `kernel_to_training` on `ranks` ranks.

    Raises:
        RanksFailedError: the training itself failed, or ranks were lost more than `RESTARTS` times.
    """
    if ranks == 1:
        measure = kernel_to_training(pictures, labels, settings, device)
        train_lsgan.train(
            pictures, labels, class_names, settings, out, device, on_progress, on_images, data_digest, measure
        )
        return
    with _exchange_folder() as folder:
        np.save(folder / "pictures.npy", pictures)
        np.save(folder / "labels.npy", labels)

        def on_event(event: dict[str, Any]) -> None:
            if "progress" in event:
                on_progress(Progress(**event["progress"]))
            if "picture" in event:
                on_images(event["picture"], np.asarray(Image.open(event["file"]).convert("RGB")))

        job = {"what": "generator", "settings": asdict(settings), "class_names": class_names, "digest": data_digest}
        _run(folder, {**job, "out": str(out), "device": device.type}, ranks, on_event)


@contextlib.contextmanager
def _exchange_folder() -> Generator[Path]:
    """Create a temporary folder for the ranks' inputs and for the files through which they find each other."""
    with tempfile.TemporaryDirectory(prefix="atelier-ranks-") as folder:
        yield Path(folder)


def _run(folder: Path, job: dict[str, Any], ranks: int, on_event: Callable[[dict[str, Any]], None]) -> None:
    """Start the ranks on the job, pass on their events and wait until they end.

    The ranks find each other through a file and communicate over loopback; no port is open to the network.
    """
    me = psutil.Process()
    job = {**job, "ranks": ranks, "parent": [me.pid, me.create_time()]}
    (folder / JOB).write_text(json.dumps(job))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks)]
    command += ["--max-restarts", str(RESTARTS), "--rdzv-id", folder.name, "--rdzv-backend", "c10d"]
    command += ["--rdzv-endpoint", str(folder / "rendezvous"), "--rdzv-conf", "store_type=file"]
    command += ["-m", "pipeline.multi_gpu.worker", str(folder)]
    environment = {**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))
    with (folder / "errors").open("w") as errors:
        agent = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
        failed = ""  # error of the first rank that failed in this attempt; later errors only report its loss
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
                on_event(event)
            code = agent.wait()
        finally:
            _end(agent)
    if code:
        last_lines = "\n".join((failed or (folder / "errors").read_text()).strip().splitlines()[-_QUOTED_LINES:])
        raise RanksFailedError(
            f"training on {ranks} ranks ended with exit code {code} after {RESTARTS} restarts at most; run it again to "
            f"continue from the last checkpoint in {job['out']}. The ranks' last error:\n{last_lines}"
        )


def _read(line: str) -> dict[str, Any]:
    """Parse an event; return an empty one for a line that a library printed."""
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _end(agent: subprocess.Popen[str]) -> None:
    """Stop the agent and its ranks, whatever state they are in."""
    if agent.poll() is None:
        agent.terminate()
        try:
            agent.wait(30)
        except subprocess.TimeoutExpired:
            agent.kill()
            agent.wait()
