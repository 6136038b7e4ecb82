"""Compare pictures per second of LSGAN training with a plain PyTorch loop: `python -m benchmarks.train_lsgan`.

The peer decodes JPEGs with Pillow in a DataLoader, concatenates the class as maps, and trains in contiguous float32
with plain Adam. Networks, batch, losses and number of steps are the same: one step of D, one of G on the same fakes.
"""

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import machine, medians, timed
from models.lsgan.networks import PICTURE_SIZE, Discriminator, Generator, SameConv, SameTransposedConv
from models.lsgan.settings import PRESETS, LsganSettings
from models.lsgan.train import train
from models.training import device as devices
from models.training.progress import Progress

CLASSES = tuple(f"class {number}" for number in range(6))
SIZES = {"paper": 1.0, "cpu": 0.25}  # width of both networks


class Jpegs(TorchDataset):
    """Data of the plain loop: one JPEG per picture, opened and normalised on every access."""

    def __init__(self, pictures: np.ndarray, labels: np.ndarray) -> None:
        self.labels, self.jpegs = labels, []
        for pixels in pictures:
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
            self.jpegs.append(buffer.getvalue())

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.jpegs)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return one picture [3, 64, 64] and its class."""
        with Image.open(io.BytesIO(self.jpegs[index])) as jpeg:
            pixels = np.asarray(jpeg, np.float32)
        return torch.from_numpy((pixels - 127.5) / 127.5).permute(2, 0, 1), int(self.labels[index])


class PlainTransposedConv(nn.Module):
    """A SAME transposed convolution with torch's layer: for stride 2, padding 0 and the last row and column cropped."""

    def __init__(self, like: SameTransposedConv) -> None:
        super().__init__()
        inputs, outputs = like.weight.shape[:2]
        self.stride = like.stride
        self.conv = nn.ConvTranspose2d(inputs, outputs, 3, like.stride, padding=1 if like.stride == 1 else 0)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, channels, n, n] -> [B, filters, n * stride, n * stride]."""
        h = self.conv(x)
        return h if self.stride == 1 else h[:, :, :-1, :-1]


class PlainConv(nn.Module):
    """A SAME convolution by explicit padding, with the class concatenated as maps."""

    def __init__(self, like: SameConv) -> None:
        super().__init__()
        self.conv = nn.Conv2d(like.weight.shape[1], like.weight.shape[0], 5, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Map x [B, channels, n, n] and one-hot y [B, classes] -> [B, filters, n/2, n/2]."""
        maps = y[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return self.conv(F.pad(torch.cat([x, maps], 1), (1, 2, 1, 2)))


def plain(network: nn.Module) -> nn.Module:
    """Replace the convolutions of our network with plain contiguous ones of equally many parameters."""
    for name, child in network.named_children():
        if isinstance(child, SameConv):
            setattr(network, name, PlainConv(child))
        elif isinstance(child, SameTransposedConv):
            setattr(network, name, PlainTransposedConv(child))
        else:
            plain(child)
    return network


class PlainLoop:
    """LSGAN training in a plain PyTorch loop."""

    def __init__(
        self, settings: LsganSettings, pictures: np.ndarray, labels: np.ndarray, device: torch.device, workers: int
    ) -> None:
        contiguous = replace(settings, channels_last=False)
        self.g, self.d = (plain(network(contiguous)).to(device).train() for network in (Generator, Discriminator))
        betas = (settings.beta1, settings.beta2)
        self.adam_g = torch.optim.Adam(self.g.parameters(), settings.lr_generator, betas)
        self.adam_d = torch.optim.Adam(self.d.parameters(), settings.lr_discriminator, betas)
        self.z_dim, self.device = settings.z_dim, device
        loader = DataLoader(
            Jpegs(pictures, labels), settings.batch_size, shuffle=True, drop_last=True, num_workers=workers,
            persistent_workers=workers > 0,
        )  # fmt: skip
        self.batches = self._endless(loader)

    @staticmethod
    def _endless(loader: DataLoader) -> Iterator[list[Tensor]]:
        while True:
            yield from loader

    def steps(self, count: int) -> None:
        """Train for `count` steps."""
        for _ in range(count):
            real, y = (part.to(self.device) for part in next(self.batches))
            z = torch.rand(len(y), self.z_dim, device=self.device) * 2 - 1
            fake = self.g(z, y)
            loss_d = ((self.d(real, y) - 1).square().mean() + self.d(fake.detach(), y).square().mean()) / 2
            self.adam_d.zero_grad()
            loss_d.backward()
            self.adam_d.step()
            loss_g = (self.d(fake, y) - 1).square().mean()
            self.adam_g.zero_grad()
            loss_g.backward()
            self.adam_g.step()
            loss_d.item(), loss_g.item()  # as for a progress bar


def measure(
    settings: LsganSettings, loop: PlainLoop, data: tuple[np.ndarray, np.ndarray], device: torch.device, repeats: int
) -> tuple[list[dict[str, float]], list[dict[str, float]], list[str]]:
    """Measure ticks of ours and equally many steps of the peer in turn; also return our trainer's notes."""
    steps, peer, ours = settings.tick_steps, [], []
    loop.steps(2)  # warm-up
    mark = time.process_time()

    def after_tick(progress: Progress) -> None:
        nonlocal mark
        if not progress.note.startswith("tick"):
            return
        wall = steps * settings.batch_size / progress.metrics["pictures_per_second"]
        ours.append({"wall_s": wall, "cpu_s": time.process_time() - mark, "peak_mb": timed(lambda: None)["peak_mb"]})
        if progress.done > steps:  # our first tick is warm-up
            peer.append(timed(lambda: loop.steps(steps)))
        mark = time.process_time()

    whole = replace(settings, steps=steps * (1 + repeats))
    with tempfile.TemporaryDirectory() as folder:
        trained = train(*data, CLASSES, whole, Path(folder), device, after_tick)
    return ours[1:], peer, trained.meta["notes"]


def operations(settings: LsganSettings) -> float:
    """Count the floating-point operations of the products in one step's forward and backward passes.

    These are those of our networks, which convolve a class's maps once per class, not once per picture.
    """
    g, d = Generator(settings), Discriminator(settings)
    z, y = torch.zeros(settings.batch_size, settings.z_dim), torch.zeros(settings.batch_size, dtype=torch.long)
    real = torch.zeros(settings.batch_size, 3, PICTURE_SIZE, PICTURE_SIZE)
    with FlopCounterMode(display=False) as counter:
        fake = g(z, y)
        (d(real, y).sum() + d(fake.detach(), y).sum()).backward()
        d.requires_grad_(False)
        d(fake, y).sum().backward()
    return float(counter.get_total_flops())


def peak(device: torch.device, dtype: torch.dtype) -> float:
    """Measure this machine's arithmetic limit: operations per second of the fastest of several matrix products."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))

    def product() -> float:
        started = time.perf_counter()
        (a @ b)[0, 0].item()
        return time.perf_counter() - started

    return 2 * side**3 / min(product() for _ in range(8))


def main(arguments: list[str] | None = None) -> int:
    """Run both sides and print pictures per second."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_lsgan", description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cuda, mps or cpu")
    parser.add_argument("--size", choices=sorted(SIZES), help="networks; default: paper on a GPU, cpu otherwise")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, help="per repeat; default: 200 on a GPU, 10 otherwise")
    parser.add_argument("--repeats", type=int, default=3, help="counted repeats of each side")
    parser.add_argument("--workers", type=int, default=2, help="of the plain loop's DataLoader")
    parser.add_argument("--float32", action="store_true", help="our side in float32 too")
    parser.add_argument("--compile", action="store_true", help="torch.compile our networks")
    parser.add_argument("--contiguous", action="store_true", help="our networks without channels_last")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args(arguments)
    try:
        device = devices.resolve(options.device)
    except (ValueError, RuntimeError) as error:
        print(f"benchmarks.train_lsgan: {error}", file=sys.stderr)
        return 2
    on_gpu = device.type == "cuda"
    size, steps = options.size or ("paper" if on_gpu else "cpu"), options.steps or (200 if on_gpu else 10)
    settings = replace(
        PRESETS["paper"], width=SIZES[size], batch_size=options.batch_size, tick_steps=steps, weight_decay=0.0,
        bf16=not options.float32, compile=options.compile, channels_last=not options.contiguous, minimum_class=1,
    )  # fmt: skip
    rng = np.random.default_rng(0)  # noise, because the speed does not depend on the pictures' content
    pictures = rng.integers(0, 256, (2048, PICTURE_SIZE, PICTURE_SIZE, 3), dtype=np.uint8)
    data = (pictures, rng.integers(0, len(CLASSES), len(pictures)))
    loop = PlainLoop(settings, *data, device, options.workers)
    ours, peer, notes = measure(settings, loop, data, device, options.repeats)
    result = _result(settings, device, ours, peer, options.workers)
    fast, slow = (result["n"] / result[side]["wall_s"] for side in ("ours", "peer"))
    print(f"LSGAN training region, {size} networks, batch {settings.batch_size}; {result['machine']}")
    print(f"  ours  {fast:10,.0f} pictures/s   ({'; '.join(notes)})")
    print(f"  peer  {slow:10,.0f} pictures/s   ({result['peer']['what']})")
    print(f"  {result['ratio']:.2f} times the peer; {result['limit_fraction']:.0%} of this machine's arithmetic limit")
    if options.json:
        print(json.dumps(result))
    return 0


def _result(
    settings: LsganSettings,
    device: torch.device,
    ours: list[dict[str, float]],
    peer: list[dict[str, float]],
    workers: int,
) -> dict:
    mine, theirs = medians(ours), medians(peer)
    precision = devices.precision("auto" if settings.bf16 else "float32", device)
    limit = settings.tick_steps * operations(settings) / peak(device, getattr(torch, precision))
    what = f"DataLoader, {workers} workers (their CPU not counted), Pillow; float32, contiguous, plain Adam"
    return {
        "name": "train_lsgan",
        "n": settings.tick_steps * settings.batch_size,
        "ours": mine,
        "peer": {**theirs, "what": what},
        "ratio": theirs["wall_s"] / mine["wall_s"],
        "limit_fraction": limit / mine["wall_s"],
        "machine": machine(device),
    }


if __name__ == "__main__":
    sys.exit(main())
