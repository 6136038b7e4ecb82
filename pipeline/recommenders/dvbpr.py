"""DVBPR: a convolutional network and user factors trained together from pixels (Kang et al. 2017)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.dvbpr.settings import SPACE, DvbprSettings
from pipeline.recommenders.contract import (
    PIXELS,
    TRIPLETS,
    FitContext,
    Fitted,
    NewItem,
    NewItemError,
    PixelNetwork,
    Recommender,
    Taste,
)
from pipeline.recommenders.loops import fitted, step_reporter

if TYPE_CHECKING:
    import numpy as np
    import torch


class Dvbpr(Recommender):
    """DVBPR with the run's settings."""

    name = "dvbpr"
    title = "DVBPR"
    hint = "the method: a network trained on the pictures"
    description = "DVBPR, a convolutional network and user factors trained together from pixels (Kang et al. 2017)"
    settings_class = DvbprSettings
    op = "dvbpr"
    presets = ("paper", "kang2017")
    needs = frozenset({TRIPLETS, PIXELS})
    space = SPACE
    takes_prior = True
    reports_epochs = True
    warm_starts = True
    on_ranks = True
    new_pictures = True
    published = True
    measures_seconds = True

    def fit(self, context: FitContext, settings: DvbprSettings) -> Fitted:
        """Train from pixels, on as many ranks as the context says."""
        from pipeline.multi_gpu import launch

        return fitted(
            launch.train_recommender(
                context.data,
                settings,
                context.folder,
                context.device,
                step_reporter(context),
                context.begin_from,
                context.ranks,
            )
        )

    def taste(self, folder: Path, manifest: Mapping[str, Any], device: "torch.device") -> Taste:
        """Load the network and the theta of all users."""
        import numpy as np

        from models.data.factors import Factors
        from models.design import preference
        from models.dvbpr import train

        cnn, theta, meta = train.load(folder, device)
        recommender = preference.PictureTaste(cnn, meta["input_size"], theta.detach())
        return Taste(self.name, recommender, np.asarray(meta["users"]), Factors.load(folder / "factors.npz").phi)

    def new_item_encoder(
        self, folder: Path, about: Mapping[str, Any]
    ) -> "Callable[[NewItem], tuple[np.ndarray, float]]":
        """Load the network, 280 MB at the paper's size. Its factors depend on the picture alone."""
        import numpy as np
        import torch

        from models.dvbpr import train

        loaded = self.pixel_network(folder, {})

        def encode(new: NewItem) -> "tuple[np.ndarray, float]":
            for field in ("title", "categories"):
                if getattr(new, field) is not None:
                    raise NewItemError(field, f"{self.title} scores a new item by its picture alone: leave it out")
            pixels, row, device = new.picture[None], np.zeros(1, np.int64), torch.device("cpu")
            return train.embed(loaded.network, pixels, row, device, resize_filter=loaded.resize_filter)[0], 0.0

        return encode

    def pixel_network(self, folder: Path, manifest: Mapping[str, Any]) -> PixelNetwork:
        """Load the network and the theta of all users."""
        import torch

        from models.dvbpr import state

        cnn, theta, meta = state.load(folder, torch.device("cpu"))
        return PixelNetwork(cnn, theta.detach(), meta["users"], meta["input_size"], meta["resize_filter"])

    def seconds(self, context: FitContext, settings: DvbprSettings) -> float:
        """Time one step after a warm-up step, and extrapolate; the context's data holds one epoch of triplets."""
        import time

        import torch

        from models.dvbpr import objective, state

        per_epoch, pictures = context.data.triplets_user.shape[1], 1 + context.data.triplets_negative.shape[2]
        cnn, theta = state.build(settings, len(context.data.users), context.device)
        adam = objective.optimiser(
            cnn, theta, learning_rate=settings.learning_rate, betas=settings.betas, eps=settings.eps,
            weight_decay=settings.weight_decay,
        )  # fmt: skip
        side = settings.input_size
        pixels = torch.zeros(settings.batch_size * pictures, 3, side, side, device=context.device)
        user = torch.zeros(settings.batch_size, dtype=torch.int64, device=context.device)
        seconds = 0.0
        for _ in range(2):
            started = time.perf_counter()
            phi = cnn(pixels).float().unflatten(0, (len(user), -1))
            adam.zero_grad(set_to_none=True)
            loss = objective.loss(theta[user], phi[:, 0], phi[:, 1:], settings.theta_decay)
            loss.backward()
            adam.step()
            float(loss.detach())  # waits for the device
            seconds = time.perf_counter() - started
        steps = -(-per_epoch // settings.batch_size)
        # Every epoch ends by embedding all pictures, a forward pass without backward: a third of their training cost.
        embedding = len(context.data.image_item) / (settings.batch_size * pictures) * seconds / 3
        return settings.epochs * (steps * seconds + embedding) + embedding


class Paper(Dvbpr):
    """DVBPR with the settings of the re-run on Amazon Fashion, for studies."""

    name = preset = "paper"
    title = "DVBPR, paper"
    presets = ()
    published = False


class Kang2017(Dvbpr):
    """DVBPR with the settings of the released code, for studies."""

    name = preset = "kang2017"
    title = "DVBPR, Kang 2017"
    presets = ()
    published = False
