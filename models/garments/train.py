"""Train the generator on frozen features: the training loop and the command line.

    python -m models.garments.train --pictures pictures.npy --labels labels.npy --out DIR --trunk trunk.pt2

The output folder holds reals.png, fakes_init.png, fakes_<step>.png (the same latents and classes each time), last.pt
(the whole state at the last tick), and of the finished run generator.pt, encoder.pt and meta.json. Without --trunk the
features are those of random weights, for trying the room alone; pictures come out much worse.
"""

import argparse
import dataclasses
import math
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from typing_extensions import Doc

from models.data import picture_grid
from models.garments import monitor
from models.garments.batches import PictureSet, check_data, check_labels, sized
from models.garments.encoder import PictureEncoder
from models.garments.features import CALIBRATED_ON, FrozenFeatures
from models.garments.generator import Generator
from models.garments.heads import Realism
from models.garments.settings import PRESETS, GarmentModelSettings
from models.garments.state import GarmentRun, load_encoder, load_generator
from models.garments.step import MEANS, TrainingStep
from models.garments.trunk import RandomTrunk, read_trunk
from models.garments.warm import source, warm_start
from models.training import command_line as command
from models.training import device as devices
from models.training import signals
from models.training.files import read_array
from models.training.progress import Clock, Progress

__all__ = ["PRESETS", "GarmentModelSettings", "TrainedGarments", "load_encoder", "load_generator", "train"]

_CALIBRATION_BATCHES = 16  # on which the scale of realism is set


@dataclass(frozen=True)
class TrainedGarments:
    """A finished run: its averaged networks, in eval mode, and its history."""

    generator: Generator
    encoder: PictureEncoder
    realism: Realism
    meta: dict[str, Any]
    folder: Path
    history: list[dict[str, float]]  # per tick: step, losses, pictures_per_second, l1 and logit of both sides, spread
    resumed_from: int  # the step; 0 for a new run


def train(
    pictures: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    settings: GarmentModelSettings,
    trunk: nn.Module,
    out: Path,
    device: torch.device | str = "auto",
    *,
    held_out: tuple[np.ndarray, np.ndarray] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_images: Callable[[int, np.ndarray], None] | None = None,
    data_digest: str = "",
    start_from: Path | None = None,
) -> TrainedGarments:
    """Train on pictures uint8 [N, S, S, 3] with labels int64 [N]; resumes from `out/last.pt` if it exists.

    A resumed run ends with the weights of an uninterrupted one, bit for bit, on the same device and number of threads.
    `trunk`: the frozen network (see `features.py`), in eval mode; it is moved to the device. `held_out`: pictures and
    labels that are only measured, at ticks. `start_from`: the folder of a finished run, with the same classes or
    others, whose weights this run starts from, and whose heads it goes on training from the first step. `on_images`
    receives (step, grid uint8 [H, W, 3]).

    Raises ValueError for pictures or labels that do not fit, a class with too few pictures, a trunk with other maps, or
    a checkpoint of another run; DivergedError if training diverges.
    """
    out, device = Path(out), devices.resolve(device) if isinstance(device, str) else device
    counts, pixels = check_data(pictures, labels, class_names, settings), sized(pictures, settings)
    if held_out is not None:
        check_labels(*held_out, class_names, "held-out pictures")
    trunk = trunk.to(device).requires_grad_(False).eval()
    features = FrozenFeatures(trunk, settings.mixed, settings.seed)
    identity = {"class_names": list(class_names), "counts": counts, "data_digest": data_digest}
    run = GarmentRun(settings, features, {**identity, "start_from": source(start_from)}, device)
    out.mkdir(parents=True, exist_ok=True)
    with devices.reproducible_kernels():
        resumed_from = run.resume(out)
        if not resumed_from and start_from is not None:
            warm_start(run, Path(start_from))
        elif not resumed_from:
            rng = np.random.default_rng(settings.seed)
            features.calibrate(pixels[np.sort(rng.permutation(len(pixels))[:CALIBRATED_ON])].to(device))
        data = PictureSet(pixels, labels, features, settings, device)
        seen = None
        if held_out is not None and len(held_out[0]):
            unseen = sized(held_out[0], settings, "held-out pictures")
            seen = PictureSet(unseen, held_out[1], features, settings, device)
        if not resumed_from and start_from is None:
            for network in (run.encoder, run.averaged_encoder):
                network.standardise(data.features.summaries)
        take_step = TrainingStep(run, warm=start_from is not None)
        _loop(run, data, seen, take_step, out, class_names, on_progress, on_images)
        run.fit_prior(data.features.summaries, data.labels, last=True)
        realism = _realism(run, data)
    meta = run.finish(out, realism, [data.note, take_step.note])
    encoder = PictureEncoder(features, run.averaged_encoder, run.averaged_generator.prior).eval()
    return TrainedGarments(run.averaged_generator, encoder, realism, meta, out, run.history, resumed_from)


def _loop(
    run: GarmentRun,
    data: PictureSet,
    held_out: PictureSet | None,
    take_step: TrainingStep,
    out: Path,
    class_names: tuple[str, ...],
    on_progress: Callable[[Progress], None] | None,
    on_images: Callable[[int, np.ndarray], None] | None,
) -> None:
    """Take the steps that are left, with a tick after every `tick_steps`."""
    settings, order = run.settings, data.order(run.settings, run.settings.seed)
    grid = monitor.FixedGrid(settings, class_names, run.device)
    if not run.step:
        columns = settings.grid_columns
        sheet = monitor.reals(data.pixels.cpu().numpy(), data.label, class_names, columns, settings.seed)
        picture_grid.write_png(out / "reals.png", sheet)
        run.fit_prior(data.features.summaries, data.labels, last=False)
        picture_grid.write_fakes(out, "init", 0, grid.draw(run.averaged_generator)[0], on_images)
    clock = Clock(on_progress, settings.steps, done=run.step)
    sums = torch.zeros(len(MEANS), device=run.device)  # read at ticks only
    metrics: dict[str, float] = dict(run.history[-1]) if run.history else {}  # of the last finished tick
    while run.step < settings.steps:
        sums += take_step(data.batch(order(run.step)))
        clock.step(settings.batch_size)
        if run.step % settings.tick_steps and run.step < settings.steps:
            if clock.due():
                clock.report("training", metrics)
            continue
        # End of a tick. `.tolist()` is the loop's only synchronisation with a GPU.
        metrics = dict(zip(MEANS, (sums / clock.steps).tolist(), strict=True))
        metrics["pictures_per_second"] = clock.stop()["pictures_per_second"]
        tick = math.ceil(run.step / settings.tick_steps)
        monitor.expect_finite(metrics, run, tick)
        run.fit_prior(data.features.summaries, data.labels, last=False)
        picture, metrics["spread"] = grid.draw(run.averaged_generator)
        metrics |= monitor.on_both_sides(run, data, held_out)
        monitor.expect_variety(metrics, run, tick)
        run.history.append({"step": run.step, **metrics})
        if tick % settings.picture_ticks == 0 or run.step == settings.steps:
            picture_grid.write_fakes(out, f"{run.step:06d}", run.step, picture, on_images)
        run.save(out)
        clock.report(f"tick {tick}", metrics)
        clock.start()
        sums.zero_()


def _realism(run: GarmentRun, data: PictureSet) -> Realism:
    """Measure the scale of realism on training pictures, with the finished heads."""
    run.heads.eval()
    realism = Realism(run.features, run.heads).to(run.device)
    order = data.order(run.settings, run.settings.seed + 8)
    batches = [
        data.batch(order(n)) for n in range(min(_CALIBRATION_BATCHES, math.ceil(len(data) / run.settings.batch_size)))
    ]
    realism.calibrate([(batch.features, batch.labels) for batch in batches])
    return realism.requires_grad_(False).eval()


def _describe(name: str) -> str:
    hints = typing.get_type_hints(GarmentModelSettings, include_extras=True)
    text = next(note.documentation for note in hints[name].__metadata__ if isinstance(note, Doc))
    return f"{text} Default: {getattr(PRESETS['modern'], name)!r}".replace("%", "%%")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.garments.train",
        description="Train the generator on frozen features, on labelled square pictures. Run it again to resume.",
        epilog="Example: python -m models.garments.train --pictures x.npy --labels y.npy --out var/garments "
        f"--trunk trunk.pt2 --steps 2000. {command.EXIT_CODES}",
    )
    parser.add_argument("--pictures", type=Path, required=True, help=".npy, uint8 [N, side, side, 3]")
    parser.add_argument("--labels", type=Path, required=True, help=".npy, integers [N], 0 to classes - 1")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and grids")
    parser.add_argument("--trunk", type=Path, help="frozen network of torch.export.save (default: random weights)")
    parser.add_argument("--held-out-pictures", type=Path, help=".npy, pictures that are only measured")
    parser.add_argument("--held-out-labels", type=Path, help=".npy, their labels")
    parser.add_argument("--start-from", type=Path, help="folder of a finished run to start from")
    parser.add_argument("--class-names", default="", help="comma-separated, in the order of the labels")
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:N, mps or cpu (default: auto)")
    command.add_settings(parser, PRESETS["modern"], _describe, leave_out="classes")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Train from the terminal; return the exit code."""
    options = _parser().parse_args(arguments)
    return command.ended("train_garments", lambda: _from_files(options))


def _from_files(options: argparse.Namespace) -> int:
    with command.reading():
        pictures, labels = _read(options.pictures, options.labels)
        if (options.held_out_pictures is None) != (options.held_out_labels is None):
            raise ValueError("--held-out-pictures and --held-out-labels belong together; give both, or neither")
        held_out = None
        if options.held_out_pictures is not None:
            held_out = _read(options.held_out_pictures, options.held_out_labels)
        names = tuple(options.class_names.split(",")) if options.class_names else ()
        names = names or tuple(f"class {c}" for c in range(int(labels.max()) + 1))
        fields = {field.name for field in dataclasses.fields(GarmentModelSettings)}
        given = {name: value for name, value in vars(options).items() if name in fields}
        settings = dataclasses.replace(PRESETS["modern"], **given, classes=len(names))
        trunk = RandomTrunk(settings.seed) if options.trunk is None else read_trunk(options.trunk)
        check_data(pictures, labels, names, settings)
    trained = train(
        pictures, labels, names, settings, trunk, options.out, options.device,
        held_out=held_out, on_progress=command.print_ticks, start_from=options.start_from,
    )  # fmt: skip
    if options.trunk is None:
        print("\nfeatures of random weights were used; give --trunk for those of a trained network")
    for note in trained.meta["notes"]:
        print(note)
    print(f"\n{trained.meta['steps']} steps, generator, encoder and grids in {trained.folder}")
    return 0


def _read(pictures: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    read = read_array(pictures, "pictures"), read_array(labels, "labels")
    if read[1].ndim != 1 or not len(read[1]) or read[1].dtype.kind not in "iu":
        raise ValueError(f"{labels}: {read[1].dtype} {read[1].shape}; one integer per picture was expected")
    return read


if __name__ == "__main__":
    signals.leave(main())
