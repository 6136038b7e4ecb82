"""Compare latents per second of preference maximisation with a plain PyTorch loop: `python -m benchmarks.designs`.

Ours searches for all users, classes and starts in large batches. The peer takes one user and one class at a time, with
that user's starts as a float32 batch, and reads the scores of every step, because the released code prints them.
Networks, latents and steps are the same. On a CPU the resulting scores must be the same too, which is checked. The
networks are random, because the speed does not depend on what they learnt.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import last_line, machine, medians, timed
from models.design.from_noise import Designs, personal_designs
from models.design.preference import PictureTaste
from models.design.settings import DesignSettings
from models.dvbpr.cnnf import CNNF
from models.lsgan.networks import Discriminator, Generator
from models.lsgan.settings import LsganSettings
from models.training import device as devices

H200_BF16 = 790e12  # FLOP/s that matrix products reach


@dataclass(frozen=True)
class Size:
    """The networks of a run, and the default amount of work of each side."""

    lsgan: LsganSettings
    input_size: int
    width: float
    hidden: float
    users: int
    peer_users: int
    starts: int
    rows_at_once: int


SIZES = {
    "paper": Size(LsganSettings(), 224, 1.0, 1.0, 2377, 8, 16, 2048),
    "cpu": Size(LsganSettings(width=0.125), 64, 0.25, 0.125, 12, 12, 4, 256),
}


@dataclass(frozen=True)
class Models:
    """The networks of both sides, in eval mode and without gradients of their weights."""

    generator: Generator
    discriminator: Discriminator
    taste: PictureTaste


def build(size: Size, users: int, device: torch.device) -> Models:
    """Make random networks of a size, and random user factors.

    The generator's weights are drawn with a larger spread than for training. Otherwise its pictures would hardly
    differ, and the search would not move.
    """
    torch.manual_seed(0)
    generator, discriminator = Generator(size.lsgan).to(device), Discriminator(size.lsgan).to(device)
    cnn = CNNF(50, input_size=size.input_size, padding="same", width=size.width, hidden=size.hidden).to(device)
    for weight in generator.parameters():
        if weight.ndim > 1:
            torch.nn.init.kaiming_normal_(weight, nonlinearity="leaky_relu")
    for network in (generator, discriminator, cnn):
        network.eval().requires_grad_(False)
    theta = torch.rand(users, 50, generator=torch.Generator().manual_seed(1))
    return Models(generator, discriminator, PictureTaste(cnn, size.input_size, theta.to(device)))


def plain(models: Models, settings: DesignSettings, users: int, device: torch.device) -> np.ndarray:
    """Search with a plain PyTorch loop; return scores [users, classes, starts, steps + 1]."""
    generator, discriminator, taste = models.generator, models.discriminator, models.taste
    classes, side = generator.classes, (taste.size, taste.size)
    noise = torch.Generator().manual_seed(settings.seed)
    first = torch.randn(classes, settings.starts, generator.z_dim, generator=noise) * settings.start_sd
    scores = np.empty((users, classes, settings.starts, settings.steps + 1), np.float32)
    for user in range(users):
        for number in range(classes):
            free = first[number].to(device, copy=True).requires_grad_()
            label = torch.full((settings.starts,), number, device=device)
            adam = torch.optim.Adam([free], lr=settings.lr)
            for step in range(settings.steps + 1):
                pictures = generator(torch.tanh(free), label)
                score = taste.phi(F.interpolate(pictures, side, mode="nearest")) @ taste.theta[user]
                scores[user, number, :, step] = score.detach().cpu()
                if step < settings.steps:
                    realism = discriminator(pictures, label)
                    adam.zero_grad()
                    (settings.eta * (realism - 1).square() - score).sum().backward()
                    adam.step()
    return scores


def flop_a_latent(models: Models, settings: DesignSettings, device: torch.device) -> float:
    """Count the floating-point operations of one latent's search; a multiply-add counts as two."""
    z = torch.zeros(2, models.generator.z_dim, device=device, requires_grad=True)
    label = torch.zeros(2, dtype=torch.int64, device=device)
    side = (models.taste.size, models.taste.size)
    with FlopCounterMode(display=False) as counter:
        pictures = models.generator(torch.tanh(z), label)
        score = models.taste.phi(F.interpolate(pictures, side, mode="nearest")) @ models.taste.theta[0]
        (models.discriminator(pictures, label) + score).sum().backward()
    return counter.get_total_flops() / 2 * (settings.steps + 0.5)  # the last step has no backward pass


def synchronised(device: torch.device) -> None:
    """Wait for the device, so that timings include all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    built = argparse.ArgumentParser(prog="python -m benchmarks.designs", description=__doc__)
    built.add_argument("--device", default="auto", help="auto, cuda, mps or cpu")
    built.add_argument("--size", choices=sorted(SIZES), help="networks; default: paper on a GPU, cpu otherwise")
    built.add_argument("--users", type=int, help="of ours; default: 2,377 for paper, 12 for cpu")
    built.add_argument("--peer-users", type=int, help="of the plain loop; default: 8 for paper, 12 for cpu")
    built.add_argument("--starts", type=int, help="per user and class; default: 16 for paper, 4 for cpu")
    built.add_argument("--steps", type=int, default=10, help="of Adam on each latent")
    built.add_argument("--rows-at-once", type=int, help="latents in one pass of ours")
    built.add_argument("--repeats", type=int, default=3, help="counted runs of each side")
    built.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    return built


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both sides and print latents per second."""
    options = parser().parse_args(arguments)
    try:
        device = devices.resolve(options.device)
        name = options.size or ("paper" if device.type == "cuda" else "cpu")
        size = SIZES[name]
        settings = DesignSettings(
            starts=options.starts or size.starts,
            steps=options.steps,
            best=1,
            every_step=False,
            rows_at_once=options.rows_at_once or size.rows_at_once,
        )
        users, peer_users = options.users or size.users, options.peer_users or size.peer_users
        if min(users, peer_users, options.repeats) < 1 or peer_users > users:
            raise ValueError("--users, --peer-users and --repeats must be 1 or more, --peer-users at most --users")
    except (ValueError, RuntimeError) as error:
        print(f"benchmarks.designs: {error}", file=sys.stderr)
        return 2
    models = build(size, users, device)
    classes = range(models.generator.classes)
    by_us: dict[str, Designs] = {}
    by_loop: dict[str, np.ndarray] = {}

    def ours() -> None:
        by_us["designs"] = personal_designs(
            models.generator, models.discriminator, models.taste, classes, settings=settings
        )
        synchronised(device)

    def peer() -> None:
        by_loop["scores"] = plain(models, settings, peer_users, device)

    plain(models, settings, 1, device)  # warm-up: chooses kernels and allocates memory
    few = Models(models.generator, models.discriminator, models.taste.of(torch.arange(1, device=device)))
    personal_designs(few.generator, few.discriminator, few.taste, classes, settings=settings)
    runs = [(timed(ours), timed(peer)) for _ in range(options.repeats)]
    mine, theirs = medians([run[0] for run in runs]), medians([run[1] for run in runs])
    latents, peer_latents = (count * len(classes) * settings.starts for count in (users, peer_users))
    fast, slow = latents / mine["wall_s"], peer_latents / theirs["wall_s"]
    apart = np.abs(by_us["designs"].score[:peer_users] - by_loop["scores"]).max()
    rise = np.abs(by_loop["scores"][..., -1] - by_loop["scores"][..., 0]).mean()
    flop = flop_a_latent(models, settings, device) * fast
    on_h200 = device.type == "cuda" and "H200" in torch.cuda.get_device_name(device)
    limit = flop / H200_BF16 if on_h200 else None
    what = f"one user and class at a time, {settings.starts} starts a batch, float32; {peer_users} users"
    print(
        f"preference maximisation, {name} networks, {users:,} users x {len(classes)} classes x {settings.starts} "
        f"starts x {settings.steps} steps; {machine(device)}"
    )
    print(f"  ours  {fast:10,.1f} latents/s   ({mine['wall_s']:.1f} s for all; {flop / 1e12:.2g} TFLOP/s)")
    print(f"  peer  {slow:10,.1f} latents/s   ({what})")
    print(f"  scores differ by {apart:.2g} at most; the search moves them by {rise:.2g}")
    share = "" if limit is None else f"; {limit:.0%} of the H200's bf16 limit"
    print(f"  {fast / slow:.2f} times the peer{share}")
    if options.json:
        print(last_line("designs", latents, mine, {**theirs, "what": what}, fast / slow, machine(device), limit))
    if device.type == "cpu" and apart > 0.02 * rise:
        print("benchmarks.designs: the two sides' scores differ: they did not do the same work", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
