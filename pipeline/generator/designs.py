"""Designs for people: the trained models a search needs, checked against each other, and who judges what it makes.

The search itself is `models/design.py`, its result as tables and strips `design_tables.py`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from models.design_settings import DesignSettings
from models.distinct import standing
from models.lsgan import Discriminator, Generator
from models.memorisation import nearest_l1
from models.preference import Recommender, picture_features
from models.taste_rank import own_rank, panels, references, standard_scores
from models.train_lsgan import load_generator
from pipeline import recommenders
from pipeline.core import parquet as pq
from pipeline.core.raw.sources import BadInput
from pipeline.core.schemas import IMAGE_MODES
from pipeline.generator import generation
from pipeline.settings import DesignTargetSettings
from pipeline.storage import Storage
from pipeline.views.metadata import table_digest

JUDGES = 20  # users whose taste a design is measured against, its owner among them
RESTYLED_FOR = 4  # users a product is restyled for, side by side as in NAF's figure 5


@dataclass(frozen=True)
class Jury:
    """Who says for whom a design is, and by what standard."""

    theta: np.ndarray  # [everybody, K]
    judges: np.ndarray  # [U, J], rows of theta: of each of the studio's users the judges, himself first
    catalogue: np.ndarray  # [images, K], phi of the mode's pictures
    garments: np.ndarray  # [N, K], phi of the shop's garments as a design is seen: cropped, at its size
    garment_label: np.ndarray  # [N], their classes

    @property
    def size(self) -> int:
        """How many judge a design."""
        return self.judges.shape[1]

    def ranks(self, features: np.ndarray, owner: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The owner's rank for each design by the catalogue's standard, and by that of its class: int64 [n] each.

        features [n, K]: phi of the designs; owner [n]: rows of `judges`; label [n]: their classes.
        """
        judges = self.judges[owner]
        overall = own_rank(standard_scores(features, self.theta, self.catalogue), judges)
        within = np.empty(len(features), np.int64)
        for number in np.unique(label):
            rows, known = label == number, self.garments[self.garment_label == number]
            within[rows] = own_rank(standard_scores(features[rows], self.theta, known), judges[rows])
        return overall, within

    def spread(self) -> np.ndarray:
        """The sd of each studio user's score over the catalogue, [U]."""
        return (self.catalogue.astype(np.float64) @ self.theta[self.judges[:, 0]].T).std(axis=0)


@dataclass(frozen=True)
class Shop:
    """The garments there are, training and held out."""

    pixels: np.ndarray  # uint8 [N, 64, 64, 3]
    asins: list[str]

    def nearest(self, designs: np.ndarray) -> tuple[list[str], np.ndarray]:
        """The product whose picture is nearest in L1 to each design uint8 [n, 64, 64, 3], and how near."""
        index, distance = nearest_l1(designs, self.pixels)
        return [self.asins[row] for row in index], distance


@dataclass(frozen=True)
class Studio:
    """The models of one home, and the people designs are made for."""

    generator: Generator
    discriminator: Discriminator
    recommender: Recommender  # theta of `users` only
    users: np.ndarray  # [U] int32, global ids
    jury: Jury
    shop: Shop
    judged_by: str  # the recommender's name, one of `recommender_names.NAMES`
    recommender_run: str
    generator_run: str
    classes: tuple[str, ...]  # the generator's

    @property
    def runs(self) -> dict[str, str]:
        """Which trained models these are."""
        return {"recommender": self.recommender_run, "generator": self.generator_run}

    def for_first(self, count: int) -> "Studio":
        """The same with its first `count` users alone."""
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
    """Load the champions, generator and recommender; choose people, their judges and those they are told apart from.

    Args:
        storage: the home.
        target: image mode, how many people, seed.
        settings: the search that the studio is for.
        garments: what the generator must have been trained on.
        device: where to search.

    Raises:
        BadInput: a model is missing, or was made from another catalogue, other garments or other classes (both named);
            or the objective is `distinct` and there is one user alone.
    """
    generator, discriminator, judge, runs = _models(storage, target.mode, generation.inputs(garments), device)
    recommender, everyone = judge.recommender, judge.users
    order = np.random.default_rng(target.choice_seed).permutation(len(everyone))
    chosen = order if target.users == 0 else order[: target.users]
    distinct = settings.objective == "distinct"
    if distinct and len(everyone) < 2:
        raise BadInput(f"designs: {target.mode} has one user, nobody to be told apart from: set objective: score.")
    # Nobody is judge and reference at once: in a small shop half of the users judge.
    size = min(JUDGES, (len(everyone) + 1) // 2) if distinct else JUDGES
    pixels = storage.load_garments(generation.inputs(garments)["garments"])
    jury = Jury(
        theta=recommender.theta.cpu().numpy(),
        judges=panels(everyone[chosen], everyone, size, target.choice_seed),
        catalogue=judge.catalogue,
        garments=picture_features(recommender, pixels),
        garment_label=generation.labels(garments),
    )
    taste = recommender.of(torch.from_numpy(chosen).to(recommender.theta.device))
    if distinct:
        rows = references(jury.judges, len(everyone), settings.references, target.choice_seed)
        taste = dataclasses.replace(taste, others=standing(jury.theta, jury.catalogue, rows))
    return Studio(
        generator,
        discriminator,
        taste,
        everyone[chosen],
        jury,
        Shop(pixels, garments["asin"].to_pylist()),
        judge.name,
        runs[0],
        runs[1],
        generation.classes(garments),
    )


def _models(
    storage: Storage, mode: str, garments: Mapping[str, str], device: torch.device
) -> tuple[Generator, Discriminator, recommenders.Judge, tuple[str, str]]:
    if mode not in IMAGE_MODES:
        raise BadInput(f"designs: mode {mode!r} is unknown; allowed: {', '.join(IMAGE_MODES)}.")
    trained, drawn = storage.in_use("recommender", mode), storage.in_use("generator")
    # A champion may be of earlier data, which is why it was compared; the newest model may not, nor other classes.
    drawn.expect(**(garments if drawn.run == storage.current("generator").run else {"classes": garments["classes"]}))
    if trained.run == storage.current("recommender", mode).run:
        trained.expect(catalogue=table_digest(pq.read_table(storage.tables / "catalogue" / f"{mode}.parquet")))
    generator, discriminator, _ = load_generator(drawn.opened, device)
    return generator, discriminator, recommenders.judge(trained, device), (trained.run, drawn.run)
