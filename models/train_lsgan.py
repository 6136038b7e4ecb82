"""One readable loop that trains the LSGAN of `lsgan.py` on labelled 64x64 pictures, and what it leaves on disk.

    python -m models.train_lsgan --pictures pictures.npy --labels labels.npy --out DIR --preset modern

Where the pictures come from, how runs are tracked, and how good the result is, do not belong here.
In the folder: reals.png, fakes_init.png, fakes_<step>.png (the same latents and classes each time), last.pt (the whole
state at the last tick), generator.pt (both networks, finished), meta.json.
"""

import argparse
import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models import checkpoint, picture_grid
from models import device as devices
from models.augment import diff_augment
from models.batch_order import BatchOrder, total_steps
from models.lsgan import (
    PICTURE_SIZE,
    PRESETS,
    Discriminator,
    Generator,
    LsganSettings,
    discriminator_loss,
    generator_loss,
    normalise,
    sample_z,
    to_pixels,
)

# What a resumed run may change: how long it goes on and when it reports. All else would make it another run.
_MAY_CHANGE = {"epochs", "steps", "tick_steps", "picture_ticks", "patience", "vanished_loss", "alike_spread"}
_SETTLE_BATCHES = 16  # of 64 latents: the averaged weights' own batch-norm statistics (Wu & Johnson 2021)


class DivergenceError(RuntimeError):
    """Training has failed at `tick` (`step`) for `reason`; last.pt still holds the tick before."""

    def __init__(self, tick: int, step: int, reason: str) -> None:
        super().__init__(
            f"tick {tick} (step {step}): {reason}; lower lr_discriminator or lr_generator, or train more "
            "pictures, in a new folder (last.pt here holds the last good tick)"
        )
        self.tick, self.step, self.reason = tick, step, reason


@dataclass(frozen=True)
class Progress:
    """Where a run stands: `done` of `total` steps; `metrics` are means over the last whole tick."""

    done: int
    total: int
    note: str
    metrics: dict[str, float]
    seconds_left: float


@dataclass(frozen=True)
class TrainedGenerator:
    """A finished run: the network to sample from (averaged weights where EMA is on), its D, and its record."""

    generator: Generator
    discriminator: Discriminator
    meta: dict[str, Any]
    folder: Path
    history: list[dict[str, float]]  # one entry a tick: step, losses, outputs, pictures_per_second, spread
    resumed_from: int  # step; 0 for a run from the start


def train(  # noqa: PLR0912, PLR0915 - the loop is meant to be read from top to bottom
    pictures: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    settings: LsganSettings,
    out: Path,
    device: torch.device | str = "auto",
    on_progress: Callable[[Progress], None] | None = None,
    on_images: Callable[[int, np.ndarray], None] | None = None,
    data_digest: str = "",
) -> TrainedGenerator:
    """Train G and D on pictures uint8 [N, 64, 64, 3] with labels int64 [N]; goes on from `out/last.pt` when there.

    A resumed run ends with the weights of an uninterrupted one, bit for bit, on one device. `on_images` receives
    (step, grid uint8 [H, W, 3]). Raises ValueError for pictures or labels that do not fit, a class with too few
    pictures, or a checkpoint of another run; DivergenceError when training has failed.
    """
    out, device = Path(out), devices.resolve(device) if isinstance(device, str) else device
    counts = _check_data(pictures, labels, class_names, settings)
    total = total_steps(len(pictures), settings)
    out.mkdir(parents=True, exist_ok=True)

    # All pictures live on the device as uint8 (10,000 take 123 MB); a batch is a gather, normalised there.
    resident = torch.from_numpy(np.ascontiguousarray(pictures)).to(device)
    resident_labels = torch.from_numpy(labels.astype(np.int64)).to(device)
    order = BatchOrder(labels, settings)

    generator = Generator(settings).to(device).train()
    discriminator = Discriminator(settings).to(device).train()
    averaged = None
    if settings.ema_half_life is not None:
        averaged = Generator(settings).to(device).requires_grad_(False).eval()
    betas = (settings.beta1, settings.beta2)
    # Fused: one kernel for all tensors; on a CPU also the difference between 3 and 30 passes over the weights.
    common: dict[str, Any] = {"betas": betas, "weight_decay": settings.weight_decay, "fused": device.type != "mps"}
    optimiser_g = torch.optim.Adam(generator.parameters(), lr=settings.lr_generator, **common)
    optimiser_d = torch.optim.Adam(discriminator.parameters(), lr=settings.lr_discriminator, **common)
    noise = torch.Generator(device=device).manual_seed(settings.seed + 2)  # 0 and 1 drew the initial weights

    # The same latents and classes from step 0 to the end, from their own seed: a film of the training.
    grid_noise = torch.Generator().manual_seed(settings.seed + 3)
    grid_z = sample_z(settings, len(class_names) * settings.grid_columns, grid_noise).to(device)
    grid_labels = torch.arange(len(class_names), device=device).repeat_interleave(settings.grid_columns)

    identity = _identity(settings, class_names, counts, data_digest)
    start, history, stalled = 0, [], {"vanished": 0, "alike": 0}
    if (out / "last.pt").exists():
        state = checkpoint.load(out / "last.pt", map_location=device)
        _check_identity(state["identity"], identity, out / "last.pt")
        for name, holder in _holders(generator, discriminator, averaged, optimiser_g, optimiser_d).items():
            holder.load_state_dict(state[name])
        noise.set_state(state["noise"].cpu())
        start, history, stalled = state["step"], state["history"], state["stalled"]
    else:
        picture_grid.write_png(out / "reals.png", _reals(pictures, labels, class_names, settings))
        first, _ = _draw(averaged or generator, grid_z, grid_labels, class_names)
        picture_grid.write_png(out / "fakes_init.png", first)
        if on_images is not None:
            on_images(0, first)

    sums = torch.zeros(4, device=device)  # losses of D and G, outputs for real and fake; read at ticks only
    metrics: dict[str, float] = dict(history[-1]) if history else {}
    tick_start = reported = time.perf_counter()
    tick_first, seconds_a_step = start, 0.0

    with _reproducible_convolutions():
        for step in range(start, total):
            index = torch.from_numpy(order(step)).to(device, non_blocking=True)
            real, y = normalise(resident[index]), resident_labels[index]
            z = sample_z(settings, len(index), noise)
            with _autocast(settings, device):
                fake = generator(z, y)  # once: D's step and G's step see the same fakes

            # D: real and fake batches apart, each with its own batch-norm statistics.
            discriminator.requires_grad_(True)
            with _autocast(settings, device):
                out_real = discriminator(diff_augment(real, settings.augment, noise), y).float()
                out_fake = discriminator(diff_augment(fake.detach(), settings.augment, noise), y).float()
            loss_d = discriminator_loss(out_real, out_fake)
            optimiser_d.zero_grad(set_to_none=True)
            loss_d.backward()
            optimiser_d.step()

            # G: through the D just updated, whose own gradients nobody needs now.
            discriminator.requires_grad_(False)
            with _autocast(settings, device):
                out_again = discriminator(diff_augment(fake, settings.augment, noise), y).float()
            loss_g = generator_loss(out_again)
            optimiser_g.zero_grad(set_to_none=True)
            loss_g.backward()
            optimiser_g.step()

            if averaged is not None:
                _average(averaged, generator, _ema_decay(settings, step + 1))
            sums += torch.stack([loss_d, loss_g, out_real.mean(), out_fake.mean()]).detach()

            done = step + 1
            if done % settings.tick_steps and done < total:
                now = time.perf_counter()
                if on_progress is not None and now - reported > 1:  # about once a second between ticks
                    reported = now
                    a_step = seconds_a_step or (now - tick_start) / (done - tick_first)
                    on_progress(Progress(done, total, "training", metrics, (total - done) * a_step))
                continue

            # Upkeep. `.tolist()` is the loop's one synchronisation with a GPU.
            means = (sums / (done - tick_first)).tolist()
            seconds = time.perf_counter() - tick_start
            tick = math.ceil(done / settings.tick_steps)
            names = ("loss_discriminator", "loss_generator", "output_real", "output_fake")
            metrics = dict(zip(names, means, strict=True))
            metrics["pictures_per_second"] = (done - tick_first) * settings.batch_size / seconds  # training alone
            if averaged is not None:
                _settle_batch_norm(averaged, settings)
            picture, metrics["spread"] = _draw(averaged or generator, grid_z, grid_labels, class_names)
            _check_divergence(metrics, stalled, settings, tick, done)
            history.append({"step": done, **metrics})
            if tick % settings.picture_ticks == 0 or done == total:
                picture_grid.write_png(out / f"fakes_{done:06d}.png", picture)
                if on_images is not None:
                    on_images(done, picture)
            state = {"identity": identity, "step": done, "history": history, "stalled": stalled}
            state["noise"] = noise.get_state()
            for name, holder in _holders(generator, discriminator, averaged, optimiser_g, optimiser_d).items():
                state[name] = holder.state_dict()
            checkpoint.save(out / "last.pt", state)
            now = time.perf_counter()
            seconds_a_step = (now - tick_start) / (done - tick_first)
            if on_progress is not None:
                on_progress(Progress(done, total, f"tick {tick}", metrics, (total - done) * seconds_a_step))
            sums.zero_()
            tick_start = reported = time.perf_counter()
            tick_first = done

    sampled = (averaged or generator).requires_grad_(False).eval()
    discriminator.requires_grad_(False).eval()
    meta = {**identity, "steps": max(start, total), "pictures_seen": max(start, total) * settings.batch_size}
    meta |= {"settings": asdict(settings), "torch": torch.__version__, "history": history}
    networks = {"generator": sampled.state_dict(), "discriminator": discriminator.state_dict()}
    checkpoint.save(out / "generator.pt", networks)
    _write_json(out / "meta.json", meta)
    return TrainedGenerator(sampled, discriminator, meta, out, history, resumed_from=start)


def load_generator(folder: Path, device: torch.device | str = "cpu") -> tuple[Generator, Discriminator, dict[str, Any]]:
    """The finished networks of `train` (eval mode, no gradients) and their meta.json.

    Raises FileNotFoundError naming the folder when the run never finished.
    """
    folder, device = Path(folder), devices.resolve(device) if isinstance(device, str) else device
    if not (folder / "meta.json").is_file():
        raise FileNotFoundError(f"{folder}: no meta.json, so no finished generator there; train (again): it resumes")
    meta = json.loads((folder / "meta.json").read_text())
    settings = LsganSettings(**meta["settings"])
    state = checkpoint.load(folder / "generator.pt", map_location=device)
    generator, discriminator = Generator(settings).to(device), Discriminator(settings).to(device)
    generator.load_state_dict(state["generator"])
    discriminator.load_state_dict(state["discriminator"])
    return generator.requires_grad_(False).eval(), discriminator.requires_grad_(False).eval(), meta


def _check_data(
    pictures: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...], settings: LsganSettings
) -> dict[str, int]:
    """The number of pictures of each class, or ValueError saying what does not fit."""
    size = (PICTURE_SIZE, PICTURE_SIZE, 3)
    if pictures.dtype != np.uint8 or pictures.shape[1:] != size:
        raise ValueError(f"pictures are {pictures.dtype} {pictures.shape}; the networks want uint8 [N, 64, 64, 3]")
    if labels.shape != (len(pictures),) or labels.dtype.kind not in "iu":
        raise ValueError(f"labels are {labels.dtype} {labels.shape}; wanted: one integer a picture, [{len(pictures)}]")
    if len(class_names) != settings.classes:
        raise ValueError(f"{len(class_names)} class names, but settings.classes is {settings.classes}")
    if len(labels) and (labels.min() < 0 or labels.max() >= len(class_names)):
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}; wanted: 0 to {len(class_names) - 1}")
    counted = np.bincount(labels, minlength=len(class_names))
    counts = {name: int(count) for name, count in zip(class_names, counted, strict=True)}
    few = [f"{name} has {count}" for name, count in counts.items() if count < settings.minimum_class]
    if few:
        raise ValueError(
            f"too few pictures to train on: {', '.join(few)}; the minimum is {settings.minimum_class} a class "
            "(add products of that class, or set minimum_class)"
        )
    return counts


def _identity(
    settings: LsganSettings, class_names: tuple[str, ...], counts: dict[str, int], data_digest: str
) -> dict[str, Any]:
    """What makes two runs the same run: everything that enters the arithmetic."""
    kept = {name: value for name, value in asdict(settings).items() if name not in _MAY_CHANGE}
    return {"settings": kept, "class_names": list(class_names), "counts": counts, "data_digest": data_digest}


def _check_identity(found: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    """ValueError naming every difference between the run on disk and the one asked for."""
    differ = [
        f"{k} was {found.get(k)!r}, now {wanted[k]!r}" for k in wanted if k != "settings" and found.get(k) != wanted[k]
    ]
    old, new = found["settings"], wanted["settings"]
    differ += [f"{k} was {old.get(k)!r}, now {new[k]!r}" for k in new if old.get(k) != new[k]]
    if differ:
        raise ValueError(
            f"{path}: a checkpoint of another run ({'; '.join(differ)}); give another folder, or delete it"
        )


def _holders(generator: Any, discriminator: Any, averaged: Any, optimiser_g: Any, optimiser_d: Any) -> dict[str, Any]:
    """All that has a state dict, under its name in last.pt."""
    holders = {"generator": generator, "discriminator": discriminator}
    holders |= {"optimiser_generator": optimiser_g, "optimiser_discriminator": optimiser_d}
    return holders if averaged is None else {**holders, "averaged": averaged}


def _autocast(settings: LsganSettings, device: torch.device) -> torch.autocast:
    on = settings.bf16 and device.type == "cuda"  # no use on a CPU without AMX, wrong on older GPUs' float16
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=on)


def _reproducible_convolutions() -> Any:
    """cuDNN's deterministic kernels: without them a resumed run differs in the last bits, and then in all."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=True)


def _ema_decay(settings: LsganSettings, step: int) -> float:
    """The averaging factor of one step: the half-life in pictures, shorter at first (5% of what was seen)."""
    assert settings.ema_half_life is not None
    half_life = min(settings.ema_half_life, 0.05 * step * settings.batch_size)  # StyleGAN2-ADA's ramp-up
    return 0.5 ** (settings.batch_size / half_life)


@torch.no_grad()
def _average(averaged: Generator, generator: Generator, decay: float) -> None:
    torch._foreach_lerp_(list(averaged.parameters()), list(generator.parameters()), 1 - decay)


@torch.no_grad()
def _settle_batch_norm(network: Generator, settings: LsganSettings) -> None:
    """Give averaged weights the batch-norm statistics that belong to them, from fresh fakes of a fixed seed."""
    device = next(network.parameters()).device
    noise = torch.Generator(device=device).manual_seed(settings.seed + 4)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    network.train()
    for _ in range(_SETTLE_BATCHES):
        labels = torch.randint(settings.classes, (64,), generator=noise, device=device)
        network(sample_z(settings, 64, noise), labels)
    for norm in norms:
        norm.momentum = 0.1
    network.eval()


@torch.no_grad()
def _draw(network: Generator, z: Tensor, labels: Tensor, class_names: tuple[str, ...]) -> tuple[np.ndarray, float]:
    """The fixed grid as one picture, a row a class, and how much its fakes differ: mean sd of a pixel on [-1, 1]."""
    was_training = network.training
    network.eval()
    fakes = network(z, labels)
    network.train(was_training)
    spread = fakes.float().std(dim=0).mean().item()
    pixels = to_pixels(fakes).cpu().numpy().reshape(len(class_names), -1, PICTURE_SIZE, PICTURE_SIZE, 3)
    return picture_grid.grid(pixels, row_labels=class_names), spread


def _reals(
    pictures: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...], settings: LsganSettings
) -> np.ndarray:
    """As many training pictures of each class as the fixed grid has fakes, drawn by the seed."""
    rng = np.random.default_rng(settings.seed)
    rows = [rng.choice(np.flatnonzero(labels == c), settings.grid_columns) for c in range(len(class_names))]
    return picture_grid.grid(pictures[np.stack(rows)], row_labels=class_names)


def _check_divergence(
    metrics: dict[str, float], stalled: dict[str, int], settings: LsganSettings, tick: int, step: int
) -> None:
    """Count bad ticks in a row in `stalled`; DivergenceError at a loss that is no number, or `patience` of them."""
    for name in ("loss_discriminator", "loss_generator", "spread"):
        if not math.isfinite(metrics[name]):
            raise DivergenceError(tick, step, f"{name} is {metrics[name]}")
    stalled["vanished"] = stalled["vanished"] + 1 if metrics["loss_discriminator"] < settings.vanished_loss else 0
    stalled["alike"] = stalled["alike"] + 1 if metrics["spread"] < settings.alike_spread else 0
    if stalled["vanished"] >= settings.patience:
        raise DivergenceError(tick, step, f"the discriminator's loss was 0 for {settings.patience} ticks: it has won")
    if stalled["alike"] >= settings.patience:
        raise DivergenceError(
            tick, step, f"all fakes were alike for {settings.patience} ticks: the generator collapsed"
        )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(content, indent=1))
    temporary.replace(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.train_lsgan",
        description="Train the category-conditional LSGAN on labelled 64x64 pictures. Run it again to resume.",
        epilog="Example: python -m models.train_lsgan --pictures x.npy --labels y.npy --out var/lsgan "
        "--preset modern --width 0.25 --batch-size 32 --steps 800",
    )
    parser.add_argument("--pictures", type=Path, required=True, help=".npy, uint8 [N, 64, 64, 3]")
    parser.add_argument("--labels", type=Path, required=True, help=".npy, integers [N], 0 to classes - 1")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and grids")
    parser.add_argument("--class-names", default="", help="comma-separated, in the order of the labels")
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:N, mps or cpu (default: auto)")
    parser.add_argument("--preset", choices=list(PRESETS), default="paper", help="fills every knob (default: paper)")
    knobs = parser.add_argument_group("knobs", "what is given here wins over the preset; the defaults are paper's")
    for field in dataclasses.fields(LsganSettings):
        if field.name == "classes":
            continue  # read from the labels
        kind: Any = {"bool": _boolean, "int": int, "float": float, "str": str}[_type_name(field).split(" ")[0]]
        flag = "--" + field.name.replace("_", "-")
        knobs.add_argument(flag, type=kind, metavar=_type_name(field).split(" ")[0], help=f"default {field.default!r}")
    return parser


def _type_name(field: dataclasses.Field[Any]) -> str:
    return field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def main(arguments: list[str] | None = None) -> int:
    """Train from the terminal; 0 done, 1 the work failed, 2 the call is wrong."""
    asked = _parser().parse_args(arguments)
    try:
        pictures, labels = np.load(asked.pictures), np.load(asked.labels)
        names = tuple(asked.class_names.split(",")) if asked.class_names else ()
        names = names or tuple(f"class {c}" for c in range(int(labels.max()) + 1))
        knobs = {f.name: getattr(asked, f.name, None) for f in dataclasses.fields(LsganSettings)}
        given = {name: value for name, value in knobs.items() if value is not None}
        settings = dataclasses.replace(PRESETS[asked.preset], **given, classes=len(names))
    except (OSError, ValueError) as error:
        print(f"train_lsgan: {error}", file=sys.stderr)
        return 2
    try:
        trained = train(pictures, labels, names, settings, asked.out, asked.device, on_progress=_print_progress)
    except (ValueError, RuntimeError) as error:
        print(f"train_lsgan: {error}", file=sys.stderr)
        return 1
    print(f"\n{trained.meta['steps']} steps, generator and grids in {trained.folder}")
    return 0


def _print_progress(progress: Progress) -> None:
    figures = "  ".join(f"{name} {value:.4g}" for name, value in progress.metrics.items() if name != "step")
    end = "\n" if progress.note.startswith("tick") else ""
    print(f"\r{progress.done}/{progress.total}  {progress.seconds_left:.0f} s left  {figures}", end=end, flush=True)


if __name__ == "__main__":
    sys.exit(main())
