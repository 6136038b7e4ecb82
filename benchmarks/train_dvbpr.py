"""Compare pictures per second of DVBPR training with a plain PyTorch loop: `python -m benchmarks.train_dvbpr`.

The peer decodes and resizes JPEGs with Pillow in DataLoader workers, and runs two float32 forwards per triplet and
plain Adam. Pictures, network and batch are the same. The first epoch of each side is warm-up and not counted.
"""

import argparse
import io
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from benchmarks.measure import last_line, machine, medians, timed
from models.data.dataset import Dataset
from models.dvbpr.cnnf import CNNF
from models.dvbpr.settings import PRECISIONS, DvbprSettings
from models.dvbpr.train import train
from models.training import device as devices

# Multiply-adds of one forward at 224 px, width 1, K = 50; a step takes three times as many.
MULTIPLY_ADDS = {"same": 809_160_704, "valid": 720_114_432}
H200_SERIAL_LIMIT = 103_000  # pictures/s: arithmetic, Adam's traffic and activations in series
SIZES = {
    "paper": DvbprSettings(padding="same"),
    "cpu": DvbprSettings(padding="same", input_size=64, width=0.25, hidden=0.125),
}


class JpegTriplets(TorchDataset):
    """Data of the plain loop: one JPEG per picture, opened, resized and normalised on every access."""

    def __init__(self, jpegs: list[bytes], data: Dataset, size: int) -> None:
        self.jpegs, self.data, self.size = jpegs, data, size

    def __len__(self) -> int:
        """Return the number of triplets in an epoch."""
        return self.data.triplets_user.shape[1]

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor, torch.Tensor]:
        """Return the user and both pictures."""
        positive, negative = self.data.triplets_positive[0, index], self.data.triplets_negative[0, index, 0]
        return int(self.data.triplets_user[0, index]), self.picture(positive), self.picture(negative)

    def picture(self, image: int) -> torch.Tensor:
        """Decode one picture, [3, size, size]."""
        with Image.open(io.BytesIO(self.jpegs[image])) as jpeg:
            pixels = np.asarray(jpeg.resize((self.size, self.size), Image.Resampling.BICUBIC), np.float32)
        return torch.from_numpy((pixels - 127.5) / 127.5).permute(2, 0, 1)


def plain_epoch(loader: DataLoader, cnn: CNNF, theta: torch.nn.Parameter, adam: torch.optim.Adam) -> None:
    """Train one epoch with a plain PyTorch loop."""
    device = theta.device
    for user, positive, negative in loader:
        rows = theta[user.to(device)]
        x = (rows * (cnn(positive.to(device)) - cnn(negative.to(device)))).sum(1)
        loss = -F.logsigmoid(x).sum() + 0.5 * rows.pow(2).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
        loss.item()  # as for a progress bar


def random_data(settings: DvbprSettings, triplets: int, images: int = 512, users: int = 200) -> Dataset:
    """Make noise of the right shape; the speed does not depend on the pictures' content."""
    rng = np.random.default_rng(0)
    size = settings.input_size
    drawn = (settings.epochs, triplets)
    pairs = np.stack([np.arange(users), rng.integers(0, images, users)], 1)
    return Dataset(
        bank=rng.integers(0, 256, (images, size, size, 3), dtype=np.uint8),
        bank_row=np.arange(images),
        image_item=np.arange(images),
        users=np.arange(users),
        items=np.arange(images),
        train=pairs,
        validation=pairs[:1],
        test=pairs[:0],
        triplets_user=rng.integers(0, users, drawn),
        triplets_positive=rng.integers(0, images, drawn),
        triplets_negative=rng.integers(0, images, (*drawn, 1)),
        bank_digest="noise",
    )


def measure(
    settings: DvbprSettings, data: Dataset, device: torch.device, workers: int
) -> tuple[list[dict[str, float]], list[dict[str, float]], list[str]]:
    """Measure epochs of ours and of the peer in turn; also return our trainer's notes."""
    jpegs = []
    for pixels in data.bank:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
        jpegs.append(buffer.getvalue())
    loader = DataLoader(
        JpegTriplets(jpegs, data, settings.input_size),
        settings.batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    cnn = CNNF(
        settings.k, input_size=settings.input_size, padding="same", width=settings.width, hidden=settings.hidden
    ).to(device)
    theta = torch.nn.Parameter(torch.rand(len(data.users), settings.k, device=device) / 100)
    groups = [{"params": cnn.weights(), "weight_decay": settings.weight_decay}, {"params": [*cnn.biases(), theta]}]
    adam = torch.optim.Adam(groups, lr=settings.learning_rate)
    plain_epoch(loader, cnn, theta, adam)  # warm-up
    peer: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:

        def after_epoch(progress: object) -> None:
            # One epoch of the peer follows each counted epoch of ours, so that both meet the same load on the machine.
            metrics = getattr(progress, "metrics", {})
            if "validation_auc" in metrics and metrics["epoch"] > 1:
                peer.append(timed(lambda: plain_epoch(loader, cnn, theta, adam)))

        cpu = time.process_time()
        trained = train(data, settings, Path(folder), device, after_epoch)
        cpu = (time.process_time() - cpu - sum(run["cpu_s"] for run in peer)) / settings.epochs
        peak = timed(lambda: None)["peak_mb"]
        ours = [{"wall_s": row["seconds"], "cpu_s": cpu, "peak_mb": peak} for row in trained.history[1:]]
    return ours, peer, trained.notes


def main(arguments: list[str] | None = None) -> int:
    """Run both sides and print pictures per second."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_dvbpr", description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cuda, mps or cpu")
    parser.add_argument("--size", choices=sorted(SIZES), help="network; default: paper on a GPU, cpu otherwise")
    parser.add_argument("--triplets", type=int, help="per epoch; default: 12,800 on a GPU, 1,024 otherwise")
    parser.add_argument("--repeats", type=int, default=3, help="counted epochs of each side")
    parser.add_argument("--workers", type=int, default=2, help="of the plain loop's DataLoader")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of our side")
    parser.add_argument("--compile", action="store_true", help="torch.compile our network")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args(arguments)
    try:
        device = devices.resolve(options.device)
    except (ValueError, RuntimeError) as error:
        print(f"benchmarks.train_dvbpr: {error}", file=sys.stderr)
        return 2
    on_gpu = device.type == "cuda"
    size = options.size or ("paper" if on_gpu else "cpu")
    triplets = options.triplets or (12_800 if on_gpu else 1_024)
    settings = replace(SIZES[size], epochs=1 + options.repeats, compile=options.compile, precision=options.precision)
    data = random_data(settings, triplets)
    ours, peer, notes = measure(settings, data, device, options.workers)
    mine, theirs = medians(ours), medians(peer)
    fast, slow = (2 * triplets / side["wall_s"] for side in (mine, theirs))
    limit = (
        fast / H200_SERIAL_LIMIT
        if on_gpu and size == "paper" and "H200" in torch.cuda.get_device_name(device)
        else None
    )
    what = (
        f"DataLoader, {options.workers} workers (their CPU not counted), Pillow; two float32 forwards a triplet, Adam"
    )
    print(
        f"DVBPR training region, {size} network, {settings.input_size} px, batch {settings.batch_size}; "
        f"{machine(device)}"
    )
    print(f"  ours  {fast:10,.0f} pictures/s   ({notes[0]}; {notes[1]})")
    print(f"  peer  {slow:10,.0f} pictures/s   ({what})")
    if size == "paper":
        print(f"  ours  {6 * MULTIPLY_ADDS['same'] * fast / 1e12:10.2f} TFLOP/s")
    share = "" if limit is None else f"; {limit:.0%} of the H200's serial limit"
    print(f"  {fast / slow:.2f} times the peer{share}")
    if options.json:
        peer_figures = {**theirs, "what": what}
        print(last_line("train_dvbpr", 2 * triplets, mine, peer_figures, fast / slow, machine(device), limit))
    return 0


if __name__ == "__main__":
    sys.exit(main())
