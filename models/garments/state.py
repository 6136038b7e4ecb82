"""The state of a training run, in memory and on disk: last.pt, generator.pt, encoder.pt, meta.json.

generator.pt holds the generator with its prior, and needs no trunk. encoder.pt holds all that works on the frozen
features: their mixing, the encoder with the prior, the heads and the scale of realism.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.garments.encoder import Encoder, PictureEncoder
from models.garments.features import FrozenFeatures
from models.garments.generator import Generator, settle
from models.garments.heads import Heads, Realism
from models.garments.prior import Prior
from models.garments.settings import MAY_CHANGE, GarmentModelSettings
from models.training import checkpoint
from models.training import device as devices
from models.training.checkpoint import LAST
from models.training.files import UnusableFileError, write_whole

GENERATOR, ENCODER, META = "generator.pt", "encoder.pt", "meta.json"
MODEL = "garments"  # in meta.json: tells a folder of this model from one of the LSGAN
_AT_TICKS, _AT_THE_END = 4, 16  # batches that settle the batch-norm statistics of the averaged weights


class GarmentRun:
    """The networks, their optimisers and averaged weights, and the progress of the run."""

    def __init__(
        self,
        settings: GarmentModelSettings,
        features: FrozenFeatures,
        identity: dict[str, Any],
        device: torch.device,
    ) -> None:
        """`identity`: the data that the run belongs to."""
        self.settings, self.features, self.device = settings, features, device
        # All that the result depends on; a checkpoint with another identity is not resumed.
        kept = {name: value for name, value in settings.plain().items() if name not in MAY_CHANGE}
        self.identity: dict[str, Any] = {"settings": kept, **identity}
        self.inputs, self.sides = features.shapes(settings.size)
        self.generator, self.averaged_generator = (Generator(settings).to(device) for _ in range(2))
        self.encoder, self.averaged_encoder = (Encoder(settings, self.inputs).to(device) for _ in range(2))
        self.heads = Heads(settings, self.sides).to(device)
        for network in (self.averaged_generator, self.averaged_encoder):
            network.requires_grad_(False).eval()
        # Fused Adam is one kernel for all tensors; on a CPU it makes 3 passes over the weights instead of 30.
        common: dict[str, Any] = {"betas": (settings.beta1, settings.beta2), "fused": device.type != "mps"}
        trained = [*self.generator.parameters(), *self.encoder.parameters()]
        self.adam = torch.optim.Adam(trained, lr=settings.lr, **common)
        self.adam_heads = torch.optim.Adam(self.heads.parameters(), lr=settings.lr_heads, **common)
        self.noise = torch.Generator(device=device).manual_seed(settings.seed + 4)
        self.step = 0  # finished steps
        self.history: list[dict[str, float]] = []  # one entry per tick
        self.alike = 0  # consecutive ticks of identical fakes

    @torch.no_grad()
    def average(self) -> None:
        """Update the averaged weights after a step; their half-life is a share of the steps so far."""
        decay = 0.5 ** (1 / (self.settings.ema_share * self.step))
        for averaged, network in (
            (self.averaged_generator, self.generator),
            (self.averaged_encoder, self.encoder),
        ):
            averages: list[Tensor] = list(averaged.parameters())
            weights: list[Tensor] = list(network.parameters())
            torch._foreach_lerp_(averages, weights, 1 - decay)

    @torch.no_grad()
    def fit_prior(self, summaries: Tensor, labels: Tensor, *, last: bool) -> None:
        """Fit the prior to the training pictures' codes, and settle the averaged generator on it."""
        means, log_variances = self.averaged_encoder(summaries)
        self.averaged_generator.prior.fit(means, log_variances.exp(), labels)
        settle(self.averaged_generator, _AT_THE_END if last else _AT_TICKS, self.settings.seed + 5)

    def save(self, out: Path) -> None:
        """Write last.pt, all that the next step depends on."""
        state = {"identity": self.identity, "step": self.step, "history": self.history, "alike": self.alike}
        state |= {"noise": self.noise.get_state(), "features": self.features.mixing()}
        checkpoint.save(out / LAST, state | {name: part.state_dict() for name, part in self._parts().items()})

    def resume(self, out: Path) -> int:
        """Load out/last.pt if it exists, and return the number of finished steps.

        Raises ValueError listing every difference if it belongs to another run.
        """
        path = out / LAST
        if not path.exists():
            return 0
        state = checkpoint.load(path, map_location=self.device, needs=("identity",))
        checkpoint.expect_same_run(path, state["identity"], self.identity)
        with checkpoint.restoring(path):
            self.features.load_mixing(state["features"])
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
            self.noise.set_state(state["noise"].cpu())
            self.step, self.history, self.alike = (state[name] for name in ("step", "history", "alike"))
        return self.step

    def finish(self, out: Path, realism: Realism, notes: list[str]) -> dict[str, Any]:
        """Write generator.pt, encoder.pt and meta.json, and return meta; the networks are left in eval mode."""
        for network in (self.averaged_generator, self.averaged_encoder, self.heads):
            network.requires_grad_(False).eval()
        scale = {name: getattr(realism, name) for name in ("mean", "spread", "deviation")}
        parts = {
            "features": self.features.mixing(),
            "encoder": self.averaged_encoder.state_dict(),
            "prior": self.averaged_generator.prior.state_dict(),
            "heads": self.heads.state_dict(),
            "realism": scale,
        }
        meta = {
            "model": MODEL,
            **self.identity,
            "steps": self.step,
            "pictures_seen": self.step * self.settings.batch_size,
        }
        meta |= {"settings": self.settings.plain(), "encoder_inputs": self.inputs, "feature_sides": self.sides}
        meta |= {"notes": notes, "torch": torch.__version__, "history": self.history}
        checkpoint.save(out / GENERATOR, {"generator": self.averaged_generator.state_dict()})
        checkpoint.save(out / ENCODER, parts)
        write_whole(out / META, lambda file: file.write(json.dumps(meta, indent=1).encode()))
        return meta

    def _parts(self) -> dict[str, Any]:
        """Return every part with a state dict, under its name in last.pt."""
        return {
            "generator": self.generator, "averaged_generator": self.averaged_generator, "encoder": self.encoder,
            "averaged_encoder": self.averaged_encoder, "heads": self.heads, "adam": self.adam,
            "adam_heads": self.adam_heads,
        }  # fmt: skip


def read_meta(folder: Path) -> tuple[dict[str, Any], GarmentModelSettings]:
    """Read meta.json of a finished run; FileNotFoundError naming the folder if it has not finished."""
    if not (folder / META).is_file():
        raise FileNotFoundError(f"{folder}: no meta.json, so no finished generator there; train (again): it resumes")
    try:
        meta = json.loads((folder / META).read_text())
        return meta, GarmentModelSettings(**meta["settings"])
    except (ValueError, TypeError, KeyError) as error:
        raise UnusableFileError(
            f"{folder / META}: cut off, damaged or of another version; delete it and train again: it resumes"
        ) from error


def load_generator(folder: Path, device: torch.device | str = "cpu") -> tuple[Generator, dict[str, Any]]:
    """Load the generator of a finished run (eval mode, no gradients) and its meta.json; needs no trunk."""
    folder, device = Path(folder), devices.resolve(device) if isinstance(device, str) else device
    meta, settings = read_meta(folder)
    generator = Generator(settings).to(device)
    state = checkpoint.load(folder / GENERATOR, map_location=device, needs=("generator",))
    with checkpoint.restoring(folder / GENERATOR):
        generator.load_state_dict(state["generator"])
    return generator.requires_grad_(False).eval(), meta


def load_encoder(
    folder: Path, trunk: nn.Module, device: torch.device | str = "cpu"
) -> tuple[PictureEncoder, Realism, dict[str, Any]]:
    """Load the encoder and the realism of a finished run, which share one `trunk` on `device`, and meta.json.

    Raises FileNotFoundError if the run has not finished, ValueError if the trunk is not that of the training.
    """
    folder, device = Path(folder), devices.resolve(device) if isinstance(device, str) else device
    meta, settings = read_meta(folder)
    state = checkpoint.load(folder / ENCODER, map_location=device, needs=("features", "encoder", "heads"))
    features = FrozenFeatures(trunk, settings.mixed, settings.seed)
    encoder = Encoder(settings, meta["encoder_inputs"]).to(device)
    prior = Prior(settings.classes, settings.z_dim).to(device)
    heads = Heads(settings, meta["feature_sides"]).to(device)
    realism = Realism(features, heads).to(device)
    with checkpoint.restoring(folder / ENCODER):
        features.load_mixing(state["features"])
        for part, name in ((encoder, "encoder"), (prior, "prior"), (heads, "heads")):
            part.load_state_dict(state[name])
        for name, value in state["realism"].items():
            getattr(realism, name).copy_(value)
    features.expect_same_trunk(settings.size)
    whole = PictureEncoder(features, encoder, prior).requires_grad_(False).eval()
    return whole, realism.requires_grad_(False).eval(), meta
