"""One step of training: reconstruct and generate, train the heads, then generator and encoder."""

import contextlib

import torch
import torch.nn.functional as F
from torch import Tensor

from models.garments.batches import Batch
from models.garments.encoder import divergence
from models.garments.heads import adversarial_loss, hinge_loss
from models.garments.state import GarmentRun
from models.training import device as devices

MEANS = ("loss_pixels", "loss_features", "divergence", "loss_heads", "loss_adversarial")  # returned by a step


class TrainingStep:
    """One step on a batch. `note` describes the device and the precision."""

    def __init__(self, run: GarmentRun, *, warm: bool = False) -> None:
        """`warm`: the run starts from a trained generator, so its heads train from the first step."""
        self.run, self.settings, self.warm = run, run.settings, warm
        self.precision = devices.precision("auto" if run.settings.bf16 else "float32", run.device)
        self.note = f"trained on {devices.describe(run.device)} in {self.precision}"
        if run.settings.bf16 and self.precision == "float32":
            self.note += ": bf16 was requested, but the device does not support it"

    def __call__(self, batch: Batch) -> Tensor:
        """Train on a batch; return its losses, in the order of `MEANS`. A loss that is not used yet is 0."""
        run, settings = self.run, self.settings
        weight = settings.adversarial(run.step, warm=self.warm)
        self._set_rates()
        # Without heads, nothing would judge what G makes from z alone, so every row reconstructs.
        count = settings.reconstructed if weight else len(batch.labels)
        mean, log_variance = run.encoder(batch.summaries[:count])
        noise = torch.randn(len(batch.labels), settings.z_dim, generator=run.noise, device=run.device)
        code = torch.cat([mean + (log_variance / 2).exp() * noise[:count], noise[count:]])
        with self._autocast():
            fake = run.generator.decode(code, batch.labels)
            features = [scale.float() for scale in run.features(fake)]  # one pass for the heads and for the losses
        pixels = (fake[:count] - batch.pictures[:count]).abs().mean()
        apart = torch.stack(
            [F.mse_loss(ours[:count], real[:count]) for ours, real in zip(features, batch.features, strict=True)]
        ).sum()
        nats = divergence(mean, log_variance)
        objective = settings.pixel_weight * pixels + settings.feature_weight * apart + settings.kl * nats
        loss_heads = loss_adversarial = pixels.new_zeros(())
        if weight:
            loss_heads = self._train_heads(batch, features)
            run.heads.requires_grad_(False)
            with run.heads.weighed(), self._autocast():
                loss_adversarial = adversarial_loss(run.heads(features, batch.labels))
            objective = objective + weight * loss_adversarial
        _descend(run.adam, objective)
        run.step += 1
        run.average()
        return torch.stack([pixels, apart, nats, loss_heads, loss_adversarial]).detach()

    def _train_heads(self, batch: Batch, features: list[Tensor]) -> Tensor:
        """Train the heads on a batch's real and generated features; return their loss."""
        run = self.run
        run.heads.requires_grad_(True)
        with run.heads.weighed(), self._autocast():
            real = run.heads(batch.features, batch.labels)
            fake = run.heads([scale.detach() for scale in features], batch.labels)
        loss = hinge_loss(real, fake)
        _descend(run.adam_heads, loss)
        return loss

    def _set_rates(self) -> None:
        factor = self.settings.rate(self.run.step)
        for optimiser, rate in ((self.run.adam, self.settings.lr), (self.run.adam_heads, self.settings.lr_heads)):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor

    def _autocast(self) -> contextlib.AbstractContextManager:
        return devices.autocast(self.precision, self.run.device)


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
