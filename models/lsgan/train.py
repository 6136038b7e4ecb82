"""Train the LSGAN on labelled 64x64 pictures: the training loop, one step of it, and the command line.

    python -m models.lsgan.train --pictures pictures.npy --labels labels.npy --out DIR --preset modern

Start it with torchrun to train on several GPUs. The output folder holds reals.png, fakes_init.png, fakes_<step>.png
(the same latents and classes each time), last.pt (the whole state at the last tick), best.pt (the networks at the best
tick, if there is a metric), generator.pt (both networks of the finished run) and meta.json.
"""

import argparse
import contextlib
import dataclasses
import math
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.data import picture_grid
from models.data.augment import adapted, diff_augment
from models.lsgan.batches import Batches, check_data, total_steps
from models.lsgan.monitor import FixedGrid, check_divergence, reals
from models.lsgan.networks import (
    Discriminator,
    Generator,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    relativistic_loss,
    sample_z,
)
from models.lsgan.settings import PRESETS, LsganSettings
from models.lsgan.state import LsganRun, load_generator
from models.training import command_line as command
from models.training import device as devices
from models.training import signals
from models.training.files import read_array
from models.training.progress import Clock, Progress
from models.training.ranks import Ranks, here, joined

__all__ = ["PRESETS", "LsganSettings", "Measure", "load_generator", "train"]

_MEANS = ("loss_discriminator", "loss_generator", "output_real", "output_fake")  # returned by a step
_ADAPT_EVERY = 4  # steps between two measurements of D's overfitting, as in ADA


@dataclass(frozen=True)
class Measure:
    """A metric of a generator during training, where less is better; computed in eval mode on its own draws."""

    name: str  # e.g. kernel_efflite0_64px_n300_train
    of: Callable[[Generator], float]


@dataclass(frozen=True)
class TrainedGenerator:
    """A finished run: the generator to sample from (with averaged weights if EMA is on), its D, and its history."""

    generator: Generator
    discriminator: Discriminator
    meta: dict[str, Any]
    folder: Path
    history: list[dict[str, float]]  # per tick: step, losses, outputs, pictures_per_second, spread, the metric
    resumed_from: int  # the step; 0 for a new run


def train(
    pictures: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    settings: LsganSettings,
    out: Path,
    device: torch.device | str = "auto",
    on_progress: Callable[[Progress], None] | None = None,
    on_images: Callable[[int, np.ndarray], None] | None = None,
    data_digest: str = "",
    measure: Measure | None = None,
) -> TrainedGenerator:
    """Train G and D on pictures uint8 [N, 64, 64, 3] with labels int64 [N]; resumes from `out/last.pt` if it exists.

    A resumed run ends with the weights of an uninterrupted one, bit for bit, on the same device. `on_images` receives
    (step, grid uint8 [H, W, 3]). If this process has joined other ranks (`ranks.joined`), each takes an equal share of
    every batch, batch norm covers the whole batch, and only the first rank writes, reports and measures; all must see
    the same `out`. Raises ValueError for pictures or labels that do not fit, a class with too few pictures, or a
    checkpoint of another run; DivergedError if training diverges.
    """
    ranks = here()
    _check_ranks(settings, ranks)
    out, device = Path(out), devices.resolve(device) if isinstance(device, str) else device
    counts = check_data(pictures, labels, class_names, settings)
    total = total_steps(len(pictures), settings)
    out.mkdir(parents=True, exist_ok=True)
    batches = Batches(pictures, labels, settings, device, ranks)
    run = LsganRun(settings, class_names, counts, data_digest, device, ranks)
    grid = FixedGrid(settings, class_names, device)
    resumed_from = run.resume(out)
    ranks.expect_same("settings, data or checkpoint", run.generator.parameters(), f"{run.identity} {total} {run.step}")
    if not resumed_from and ranks.first:
        picture_grid.write_png(out / "reals.png", reals(pictures, labels, class_names, settings))
        picture_grid.write_fakes(out, "init", 0, grid.draw(run.sampled)[0], on_images)

    take_step = TrainingStep(run, device, batches.watched)
    sums = torch.zeros(len(_MEANS), device=device)  # read at ticks only
    metrics: dict[str, float] = dict(run.history[-1]) if run.history else {}  # of the last finished tick
    clock = Clock(on_progress if ranks.first else None, total, done=run.step)
    with devices.reproducible_kernels():
        while run.step < total:
            sums += take_step(*batches(run.step))
            clock.step(settings.batch_size)
            if run.step % settings.tick_steps and run.step < total:
                if clock.due():
                    clock.report("training", metrics)
                continue
            # End of a tick. `.tolist()` is the loop's only synchronisation with a GPU.
            metrics = dict(zip(_MEANS, (sums / clock.steps).tolist(), strict=True))
            metrics["pictures_per_second"] = clock.stop()["pictures_per_second"]
            if settings.adaptive:
                metrics["augment_probability"] = run.augment_probability.item()
            tick = math.ceil(run.step / settings.tick_steps)
            ranks.expect_same("weights any more", [*run.generator.parameters(), *run.discriminator.parameters()])
            run.settle()
            picture, metrics["spread"] = grid.draw(run.sampled)
            check_divergence(metrics, run.stalled, settings, tick, run.step)
            if measure is not None and (tick % settings.metric_ticks == 0 or run.step == total):
                value = _measured(measure, run.sampled) if ranks.first else 0.0
                metrics[measure.name] = ranks.broadcast_first(value, device)
                run.note(measure.name, metrics[measure.name], out)
            run.history.append({"step": run.step, **metrics})
            if ranks.first and (tick % settings.picture_ticks == 0 or run.step == total):
                picture_grid.write_fakes(out, f"{run.step:06d}", run.step, picture, on_images)
            run.save(out)
            clock.report(f"tick {tick}", metrics)
            clock.start()
            sums.zero_()
    meta = run.finish(out, [batches.note, take_step.note])
    return TrainedGenerator(run.sampled, run.discriminator, meta, out, run.history, resumed_from)


class TrainingStep:
    """One step of D, then one of G on the same fakes. `note` describes the device and the precision."""

    def __init__(
        self, run: LsganRun, device: torch.device, watched: Callable[[int], tuple[Tensor, Tensor]] | None = None
    ) -> None:
        """`watched`: step to real pictures and labels that are not trained on; needed if augmentation adapts."""
        self.watched = watched
        self.run, self.settings, self.device, self.ranks = run, run.settings, device, run.ranks
        self.generator, self.discriminator = run.generator, run.discriminator
        if run.settings.compile:  # wraps the same modules, so state dicts keep their names
            self.generator, self.discriminator = (torch.compile(n) for n in (run.generator, run.discriminator))
        self.precision = devices.precision("auto" if run.settings.bf16 else "float32", device)
        self.note = f"trained on {devices.describe(device)} in {self.precision}"
        if run.settings.bf16 and self.precision == "float32":
            self.note += ": bf16 was requested, but the device does not support it"

    def __call__(self, real: Tensor, y: Tensor) -> Tensor:
        """Train on reals [B, 3, 64, 64] with labels [B]: losses of D and G, D's mean outputs for real and fake, [4].

        The reals are this rank's share; latents, D's outputs and losses are those of the whole batch.
        """
        run, settings, whole = self.run, self.settings, len(y) * self.ranks.count
        z = sample_z(settings, whole, run.noise)[self.ranks.share(whole)]
        with self._autocast():
            fake = self.generator(z, y)  # generated once, for both D's step and G's step

        run.discriminator.requires_grad_(True)
        shown, shown_fake = self._augment(real), self._augment(fake.detach())
        penalised = settings.r1 > 0 and run.step % settings.r1_every == 0
        out_real, out_fake = self._outputs(shown.requires_grad_(penalised), shown_fake, y, for_penalty=penalised)
        loss_d = self._loss_d(out_real, out_fake)
        objective = loss_d
        if penalised:
            weight = settings.r1 * settings.r1_every / self.ranks.count  # a mean over this rank's share of the reals
            objective = loss_d + weight * gradient_penalty(out_real, shown)
        if settings.adaptive and run.step % _ADAPT_EVERY == 0:
            self._adapt(out_real.detach().mean(), out_fake.detach().mean(), shown_fake, y)
        self._descend(run.adam_d, run.discriminator, objective)

        # G's gradient flows through the updated D, which needs none itself.
        run.discriminator.requires_grad_(False)
        if settings.loss == "relativistic" or settings.joint_batches:
            reference, out_again = self._outputs(self._augment(real.detach()), self._augment(fake), y)
        else:
            out_again = self._gathered(self._output(self._augment(fake), y))
        if settings.loss == "relativistic":
            loss_g = relativistic_loss(out_again, reference.detach())
        else:
            loss_g = generator_loss(out_again)
        self._descend(run.adam_g, run.generator, loss_g)

        run.step += 1
        run.average()
        return torch.stack([loss_d, loss_g, out_real.mean(), out_fake.mean()]).detach()

    def _loss_d(self, out_real: Tensor, out_fake: Tensor) -> Tensor:
        loss = relativistic_loss if self.settings.loss == "relativistic" else discriminator_loss
        return loss(out_real, out_fake)

    def _augment(self, pictures: Tensor) -> Tensor:
        often = self.run.augment_probability if self.settings.adaptive else None
        return diff_augment(pictures, self.settings.augment, self.run.noise, often, self.ranks)

    @torch.no_grad()
    def _adapt(self, real: Tensor, fake: Tensor, shown_fake: Tensor, y: Tensor) -> None:
        """Adapt how often to augment to D's outputs for pictures that are not trained on."""
        assert self.watched is not None, "augment_target needs pictures that are not trained on"
        pictures, labels = self.watched(self.run.step // _ADAPT_EVERY)
        unseen, _ = self._outputs(self._augment(pictures), shown_fake, labels, y)
        move = _ADAPT_EVERY * self.settings.batch_size / self.settings.augment_ramp
        target = self.settings.augment_target or 0.0
        often = self.run.augment_probability
        self.run.augment_probability = adapted(often, real, fake, unseen.mean(), target, move)

    def _outputs(
        self, real: Tensor, fake: Tensor, y: Tensor, y_fake: Tensor | None = None, for_penalty: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Compute D's outputs [B] for all reals and fakes of a batch: in one pass, or each with its own statistics."""
        y_fake = y if y_fake is None else y_fake
        if not self.settings.joint_batches:
            of_real, of_fake = self._output(real, y, for_penalty), self._output(fake, y_fake)
        else:
            both = self._output(torch.cat([real, fake]), torch.cat([y, y_fake]), for_penalty)
            of_real, of_fake = both[: len(real)], both[len(real) :]
        return self._gathered(of_real), self._gathered(of_fake)

    def _output(self, pictures: Tensor, y: Tensor, for_penalty: bool = False) -> Tensor:
        if for_penalty:  # in float32 and not compiled: compiled networks cannot be differentiated twice
            return self.run.discriminator(pictures, y)
        with self._autocast():
            return self.discriminator(pictures, y).float()

    def _gathered(self, mine: Tensor) -> Tensor:
        return self.ranks.gather(mine, len(mine) * self.ranks.count)

    def _autocast(self) -> contextlib.AbstractContextManager:
        return devices.autocast(self.precision, self.device)

    def _descend(self, optimiser: torch.optim.Optimizer, network: torch.nn.Module, loss: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.ranks.sum_gradients(network.parameters())
        optimiser.step()


def _check_ranks(settings: LsganSettings, ranks: Ranks) -> None:
    if settings.batch_size % ranks.count:
        raise ValueError(f"batch_size is {settings.batch_size}; {ranks.count} ranks need a multiple of {ranks.count}")
    if settings.compile and not ranks.alone:
        raise ValueError("compile is for one rank: batch norm over several is not compiled; set compile to false")


def _measured(measure: Measure, network: Generator) -> float:
    was_training = network.training
    network.eval()
    value = float(measure.of(network))
    network.train(was_training)
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.lsgan.train",
        description="Train the category-conditional LSGAN on labelled 64x64 pictures. Run it again to resume.",
        epilog="Example: python -m models.lsgan.train --pictures x.npy --labels y.npy --out var/lsgan "
        f"--preset modern --width 0.25 --batch-size 32 --steps 800. {command.EXIT_CODES}",
    )
    parser.add_argument("--pictures", type=Path, required=True, help=".npy, uint8 [N, 64, 64, 3]")
    parser.add_argument("--labels", type=Path, required=True, help=".npy, integers [N], 0 to classes - 1")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and grids")
    parser.add_argument("--class-names", default="", help="comma-separated, in the order of the labels")
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:N, mps or cpu (default: auto)")
    parser.add_argument(
        "--preset", choices=list(PRESETS), default="paper", help="values of all settings (default: paper)"
    )
    group = parser.add_argument_group("settings", "these override the preset; the defaults shown are those of paper")
    types = typing.get_type_hints(LsganSettings)
    for field in dataclasses.fields(LsganSettings):
        if field.name == "classes":
            continue  # read from the labels
        # `int | None` is read as int; None is the default and cannot be given.
        kind = (typing.get_args(types[field.name]) or (types[field.name],))[0]
        flag, read = "--" + field.name.replace("_", "-"), _boolean if kind is bool else kind
        group.add_argument(flag, type=read, metavar=kind.__name__, help=f"default {field.default!r}")
    return parser


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def main(arguments: list[str] | None = None) -> int:
    """Train from the terminal; return the exit code."""
    options = _parser().parse_args(arguments)
    return command.ended("train_lsgan", lambda: _from_files(options))


def _from_files(options: argparse.Namespace) -> int:
    with command.reading():
        pictures, labels = read_array(options.pictures, "pictures"), read_array(options.labels, "labels")
        if labels.ndim != 1 or not len(labels) or labels.dtype.kind not in "iu":
            raise ValueError(f"{options.labels}: {labels.dtype} {labels.shape}; one integer per picture was expected")
        names = tuple(options.class_names.split(",")) if options.class_names else ()
        names = names or tuple(f"class {c}" for c in range(int(labels.max()) + 1))
        values = {f.name: getattr(options, f.name, None) for f in dataclasses.fields(LsganSettings)}
        given = {name: value for name, value in values.items() if value is not None}
        settings = dataclasses.replace(PRESETS[options.preset], **given, classes=len(names))
    with joined(devices.resolve(options.device)) as device:
        first = here().first
        trained = train(pictures, labels, names, settings, options.out, device, on_progress=command.print_ticks)
    if not first:
        return 0
    for note in trained.meta["notes"]:
        print(note)
    print(f"\n{trained.meta['steps']} steps, generator and grids in {trained.folder}")
    return 0


if __name__ == "__main__":
    signals.leave(main())
