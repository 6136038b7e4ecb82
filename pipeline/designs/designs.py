"""Load the trained models that a search for designs needs, check that they fit, and choose users and their judges."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from models.design.distinct import standardise
from models.design.networks import AnyGenerator, AnyRealism
from models.design.preference import PictureTaste, picture_features
from models.design.settings import DesignSettings
from models.design.taste_rank import own_rank, panels, references, standard_scores
from models.metrics.memorisation import nearest_l1
from pipeline.core import parquet as pq
from pipeline.core.errors import InputError
from pipeline.core.generator import generation
from pipeline.core.generator.trained import load
from pipeline.core.schemas import IMAGE_MODES
from pipeline.core.tables import table_digest
from pipeline.home.storage import Storage
from pipeline.recommenders.contract import Taste
from pipeline.recommenders.registry import of_manifest
from pipeline.recommenders.trained import trained as newest_models
from pipeline.settings.assets import DesignTargetSettings

JUDGES = 20  # users by whose taste a design is ranked, including the user it is made for
RESTYLED_FOR = 4  # users that a product is restyled for, side by side as in figure 5 of NAF


@dataclass(frozen=True)
class Jury:
    """The users who rank a design, and the pictures that their scores are standardised by."""

    theta: np.ndarray  # [all users, K]
    judges: np.ndarray  # [U, J], rows of theta: the judges of each studio user, the user first
    catalogue: np.ndarray  # [images, K], phi of the mode's pictures
    garments: np.ndarray  # [N, K], phi of the shop's garments, cropped and sized like a design
    garment_label: np.ndarray  # [N], their classes

    @property
    def size(self) -> int:
        """Return the number of judges of a design."""
        return self.judges.shape[1]

    def ranks(self, features: np.ndarray, owner: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rank each design's owner among the judges, by scores standardised over the catalogue and over its class.

        Args:
            features: [n, K], phi of the designs.
            owner: [n], rows of `judges`.
            label: [n], the designs' classes.

        Returns:
            The owner's rank by the catalogue and by the class, int64 [n] each.
        """
        judges = self.judges[owner]
        overall = own_rank(standard_scores(features, self.theta, self.catalogue), judges)
        within = np.empty(len(features), np.int64)
        for number in np.unique(label):
            rows, known = label == number, self.garments[self.garment_label == number]
            within[rows] = own_rank(standard_scores(features[rows], self.theta, known), judges[rows])
        return overall, within

    def spread(self) -> np.ndarray:
        """Compute the standard deviation of each studio user's scores over the catalogue, [U]."""
        return (self.catalogue.astype(np.float64) @ self.theta[self.judges[:, 0]].T).std(axis=0)


@dataclass(frozen=True)
class ShopGarments:
    """The shop's garments, training and held out."""

    pixels: np.ndarray  # uint8 [N, 64, 64, 3]
    asins: list[str]

    def nearest(self, designs: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Find the product whose picture is nearest in L1 to each design uint8 [n, 64, 64, 3], and the distance."""
        index, distance = nearest_l1(designs, self.pixels)
        return [self.asins[row] for row in index], distance


@dataclass(frozen=True)
class Studio:
    """The models of one home, and the users that designs are made for."""

    generator: AnyGenerator
    discriminator: AnyRealism
    recommender: PictureTaste  # theta of `users` only
    users: np.ndarray  # [U] int32, global ids
    jury: Jury
    shop: ShopGarments
    recommender_name: str  # the recommender's name
    recommender_run: str
    generator_run: str
    classes: tuple[str, ...]  # the generator's

    @property
    def runs(self) -> dict[str, str]:
        """Return the runs of the two trained models."""
        return {"recommender": self.recommender_run, "generator": self.generator_run}

    def for_first(self, count: int) -> "Studio":
        """Return a copy with the first `count` users only."""
        count = min(count, len(self.users))
        return dataclasses.replace(
            self,
            recommender=self.recommender.of(torch.arange(count)),
            users=self.users[:count],
            jury=dataclasses.replace(self.jury, judges=self.jury.judges[:count]),
        )


def open_studio(
    storage: Storage, target: DesignTargetSettings, settings: DesignSettings, garments: pa.Table, device: torch.device
) -> Studio:
    """Load the champion generator and recommender; choose the users, their judges and, if needed, reference users.

    Args:
        storage: the home.
        target: image mode, number of users, seed.
        settings: the settings of the search.
        garments: the table that the generator must have been trained on.
        device: where to search.

    Raises:
        InputError: a model is missing, or was made from another catalogue, other garments or other classes (the message
            names both); or the objective is `distinct` and there is only one user.
    """
    generator, discriminator, scorer, runs = _models(storage, target.mode, generation.inputs(garments), device)
    recommender, everyone = scorer.recommender, scorer.users
    order = np.random.default_rng(target.choice_seed).permutation(len(everyone))
    chosen = order if target.users == 0 else order[: target.users]
    distinct = settings.objective == "distinct"
    if distinct and len(everyone) < 2:
        raise InputError(f"designs: {target.mode} has only one user to tell a design from: set objective: score.")
    # No user is both judge and reference, so in a small shop only half of the users are judges.
    size = min(JUDGES, (len(everyone) + 1) // 2) if distinct else JUDGES
    pixels = storage.load_garments(generation.inputs(garments)["garments"])
    jury = Jury(
        theta=recommender.theta.cpu().numpy(),
        judges=panels(everyone[chosen], everyone, size, target.choice_seed),
        catalogue=scorer.catalogue,
        garments=picture_features(recommender, pixels),
        garment_label=generation.labels(garments),
    )
    taste = recommender.of(torch.from_numpy(chosen).to(recommender.theta.device))
    if distinct:
        rows = references(jury.judges, len(everyone), settings.references, target.choice_seed)
        taste = dataclasses.replace(taste, others=standardise(jury.theta, jury.catalogue, rows))
    return Studio(
        generator,
        discriminator,
        taste,
        everyone[chosen],
        jury,
        ShopGarments(pixels, garments["asin"].to_pylist()),
        scorer.name,
        runs[0],
        runs[1],
        generation.classes(garments),
    )


def _models(
    storage: Storage, mode: str, garments: Mapping[str, str], device: torch.device
) -> tuple[AnyGenerator, AnyRealism, Taste, tuple[str, str]]:
    if mode not in IMAGE_MODES:
        raise InputError(f"designs: mode {mode!r} is unknown; allowed: {', '.join(IMAGE_MODES)}.")
    trained, drawn = storage.recommender_in_use(mode, sees=True), storage.in_use("generator")
    # A champion may come from earlier data, since it was compared with the newest model. The newest model must match
    # the current data, and the classes must match in either case.
    drawn.expect(**(garments if drawn.run == storage.current("generator").run else {"classes": garments["classes"]}))
    if trained.run in {newest.run for newest in newest_models(storage, mode).values()}:
        trained.expect(catalogue=table_digest(pq.read_table(storage.tables / "catalogue" / f"{mode}.parquet")))
    drawing = load(drawn.verified, device)
    return (
        drawing.generator,
        drawing.realism,
        of_manifest(trained.manifest()).taste(trained.verified, trained.manifest(), device),
        (trained.run, drawn.run),
    )
