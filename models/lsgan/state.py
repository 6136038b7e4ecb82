"""The state of an LSGAN training run, in memory and on disk: last.pt, best.pt, generator.pt, meta.json."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.lsgan.global_batch_norm import over_ranks
from models.lsgan.networks import Discriminator, Generator, sample_z
from models.lsgan.settings import MAY_CHANGE, LsganSettings
from models.training import checkpoint
from models.training import device as devices
from models.training.checkpoint import BEST, LAST
from models.training.files import UnusableFileError, write_whole
from models.training.ranks import ALONE, Ranks

GENERATOR, META = "generator.pt", "meta.json"  # a finished run: both networks; its settings and history
_SETTLE_BATCHES = 16  # of 64 latents, to recompute batch-norm statistics for averaged weights (Wu & Johnson 2021)


class LsganRun:
    """Both networks, their optimisers, the averaged weights, and the progress of the run."""

    def __init__(
        self,
        settings: LsganSettings,
        class_names: tuple[str, ...],
        counts: dict[str, int],
        data_digest: str,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        self.settings, self.ranks = settings, ranks
        # All that the result depends on; a checkpoint with another identity is not resumed.
        kept = {name: value for name, value in asdict(settings).items() if name not in MAY_CHANGE}
        self.identity: dict[str, Any] = {"settings": kept, "class_names": list(class_names), "counts": counts}
        self.identity["data_digest"] = data_digest
        self.generator = Generator(settings).to(device).train()
        self.discriminator = Discriminator(settings).to(device).train()
        for network in (self.generator, self.discriminator):
            over_ranks(network, ranks)
        self.averaged: Generator | None = None
        if settings.ema_half_life is not None:
            self.averaged = Generator(settings).to(device).requires_grad_(False).eval()
        # Fused Adam is one kernel for all tensors; on a CPU it makes 3 passes over the weights instead of 30.
        common: dict[str, Any] = {"betas": (settings.beta1, settings.beta2), "fused": device.type != "mps"}
        common["weight_decay"] = settings.weight_decay
        self.adam_g = torch.optim.Adam(self.generator.parameters(), lr=settings.rate(settings.lr_generator), **common)
        rate_d = settings.rate(settings.lr_discriminator)
        self.adam_d = torch.optim.Adam(self.discriminator.parameters(), lr=rate_d, **common)
        self.noise = torch.Generator(device=device).manual_seed(
            settings.seed + 2
        )  # seeds + 0 and + 1 draw the initial weights
        self.augment_probability = torch.zeros((), device=device)  # changes only if augmentation adapts
        self.step = 0  # finished steps
        self.history: list[dict[str, float]] = []  # one entry per tick
        self.stalled = {"vanished": 0, "alike": 0}  # consecutive bad ticks
        self.best: dict[str, Any] | None = None  # its step, the name of the metric, its value

    @property
    def sampled(self) -> Generator:
        """Return the generator to sample from: the averaged one if there is one."""
        return self.generator if self.averaged is None else self.averaged

    @torch.no_grad()
    def average(self) -> None:
        """Update the averaged weights, if there are any, after a step."""
        if self.averaged is not None:
            averages: list[Tensor] = list(self.averaged.parameters())
            weights: list[Tensor] = list(self.generator.parameters())
            torch._foreach_lerp_(averages, weights, 1 - ema_decay(self.settings, self.step))

    @torch.no_grad()
    def settle(self) -> None:
        """Recompute the batch-norm statistics of the averaged weights, from fakes of a fixed seed."""
        network, settings = self.averaged, self.settings
        if network is None:
            return
        noise = torch.Generator(device=self.noise.device).manual_seed(settings.seed + 4)
        norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
        network.train()
        for _ in range(_SETTLE_BATCHES):
            labels = torch.randint(settings.classes, (64,), generator=noise, device=noise.device)
            network(sample_z(settings, 64, noise), labels)
        for norm in norms:
            norm.momentum = 0.1
        network.eval()

    def note(self, name: str, value: float, out: Path) -> None:
        """Record the metric, where less is better, and write best.pt if it is the best so far."""
        if self.best is None or self.best["metric"] != name or value < self.best["value"]:
            self.best = {"step": self.step, "metric": name, "value": value}
            if self.ranks.first:
                checkpoint.save(out / BEST, {**self._finished(), **self.best})

    def save(self, out: Path) -> None:
        """Write last.pt, all that the next step depends on.

        Call it after `note`: if the run is killed between the two, it repeats this tick.
        """
        if not self.ranks.first:
            return
        state = {"identity": self.identity, "step": self.step, "history": self.history, "stalled": self.stalled}
        state |= {"best": self.best, "noise": self.noise.get_state()}
        state |= {"augment_probability": self.augment_probability}
        checkpoint.save(out / LAST, state | {name: part.state_dict() for name, part in self._parts().items()})

    def resume(self, out: Path) -> int:
        """Load out/last.pt if it exists, and return the number of finished steps.

        Raises ValueError listing every difference if it belongs to another run.
        """
        path = out / LAST
        if not path.exists():
            return 0
        state = checkpoint.load(path, map_location=self.noise.device, needs=("identity",))
        checkpoint.expect_same_run(path, state["identity"], self.identity)
        with checkpoint.restoring(path):
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
            self.noise.set_state(state["noise"].cpu())
            self.augment_probability = state["augment_probability"].to(self.noise.device)
            names = ("step", "history", "stalled", "best")
            self.step, self.history, self.stalled, self.best = (state[name] for name in names)
        return self.step

    def finish(self, out: Path, notes: list[str]) -> dict[str, Any]:
        """Write generator.pt and meta.json, and return meta. All ranks must call it.

        With `select="best"`, the networks are those of the best checkpoint, if there is one. They are left in eval mode
        without gradients.
        """
        self.ranks.wait()  # for the first rank to write its last checkpoint
        chosen = self.best if self.settings.select == "best" else None
        if chosen is not None:
            state = checkpoint.load(out / BEST, map_location=self.noise.device)
            with checkpoint.restoring(out / BEST):
                self.sampled.load_state_dict(state["generator"])
                self.discriminator.load_state_dict(state["discriminator"])
        for network in (self.sampled, self.discriminator):
            network.requires_grad_(False).eval()
        steps = self.step
        meta = {**self.identity, "steps": steps, "pictures_seen": steps * self.settings.batch_size, "best": self.best}
        meta |= {"settings": asdict(self.settings), "selected_step": chosen["step"] if chosen else steps}
        meta |= {"notes": notes, "torch": torch.__version__, "history": self.history}
        if not self.ranks.first:
            return meta
        checkpoint.save(out / GENERATOR, self._finished())
        write_whole(out / META, lambda file: file.write(json.dumps(meta, indent=1).encode()))
        return meta

    def _finished(self) -> dict[str, Any]:
        return {"generator": self.sampled.state_dict(), "discriminator": self.discriminator.state_dict()}

    def _parts(self) -> dict[str, Any]:
        """Return every part with a state dict, under its name in last.pt."""
        parts: dict[str, Any] = {"generator": self.generator, "discriminator": self.discriminator}
        parts |= {"optimiser_generator": self.adam_g, "optimiser_discriminator": self.adam_d}
        return parts if self.averaged is None else {**parts, "averaged": self.averaged}


def load_generator(folder: Path, device: torch.device | str = "cpu") -> tuple[Generator, Discriminator, dict[str, Any]]:
    """Load the networks of a finished run (eval mode, no gradients) and its meta.json.

    Raises FileNotFoundError naming the folder if the run has not finished.
    """
    folder, device = Path(folder), devices.resolve(device) if isinstance(device, str) else device
    if not (folder / META).is_file():
        raise FileNotFoundError(f"{folder}: no meta.json, so no finished generator there; train (again): it resumes")
    try:
        meta = json.loads((folder / META).read_text())
        settings = LsganSettings(**meta["settings"])
    except (ValueError, TypeError, KeyError) as error:
        raise UnusableFileError(
            f"{folder / 'meta.json'}: cut off, damaged or of another version; delete it and train again: it resumes"
        ) from error
    state = checkpoint.load(folder / GENERATOR, map_location=device)
    generator, discriminator = Generator(settings).to(device), Discriminator(settings).to(device)
    with checkpoint.restoring(folder / GENERATOR):
        generator.load_state_dict(state["generator"])
        discriminator.load_state_dict(state["discriminator"])
    return generator.requires_grad_(False).eval(), discriminator.requires_grad_(False).eval(), meta


def ema_decay(settings: LsganSettings, step: int) -> float:
    """Compute the averaging factor of one step; at first the half-life is only a share of the pictures seen so far."""
    assert settings.ema_half_life is not None
    half_life = min(settings.ema_half_life, settings.ema_ramp * step * settings.batch_size)  # StyleGAN2-ADA's ramp-up
    return 0.5 ** (settings.batch_size / half_life)
