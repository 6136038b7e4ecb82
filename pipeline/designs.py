"""Designs for people: the trained models a search needs, checked against each other, and its result as rows and strips.

The search itself is `models/design.py`.
"""

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from models.design import Designs, Recommender, Restyled, picture_features, standardised_rank
from models.factors import Factors
from models.lsgan import Discriminator, Generator
from models.picture_grid import grid
from models.train_lsgan import load_generator
from pipeline import recommenders, sheets
from pipeline.config import DesignTargetSettings
from pipeline.core import schemas
from pipeline.core.schemas import IMAGE_MODES
from pipeline.core.sources import BadInput
from pipeline.metadata import table_digest
from pipeline.storage import Storage

JUDGES = 20  # users whose taste a design is measured against, its owner among them
RESTYLED_FOR = 4  # users a product is restyled for, side by side as in NAF's figure 5


@dataclass(frozen=True)
class Studio:
    """The models of one home, and the people designs are made for."""

    generator: Generator
    discriminator: Discriminator
    recommender: Recommender  # theta of `users` only
    users: np.ndarray  # [U] int32, global ids
    judges: np.ndarray  # [J, K], the users' theta first
    catalogue: np.ndarray  # [images, K], phi of the mode's pictures
    recommender_run: str
    generator_run: str
    classes: tuple[str, ...]  # the generator's

    @property
    def runs(self) -> dict[str, str]:
        """Which trained models these are."""
        return {"recommender": self.recommender_run, "generator": self.generator_run}

    def for_first(self, count: int) -> Recommender:
        """The recommender with the first `count` users' theta."""
        return dataclasses.replace(self.recommender, theta=self.recommender.theta[:count])


def open_studio(
    storage: Storage, target: DesignTargetSettings, garments: Mapping[str, str], device: torch.device
) -> Studio:
    """Load generator and recommender and choose the people.

    Args:
        storage: the home.
        target: image mode, how many people, seed.
        garments: what the generator must have been trained on (`generation.inputs`).
        device: where to search.

    Raises:
        BadInput: a model is missing, or was made from another catalogue, other garments or other classes (both named).
    """
    if target.mode not in IMAGE_MODES:
        raise BadInput(f"designs: mode {target.mode!r} is unknown; allowed: {', '.join(IMAGE_MODES)}.")
    trained, drawn = storage.current("recommender", target.mode), storage.current("generator")
    drawn.expect(**garments)
    trained.expect(catalogue=table_digest(pq.read_table(storage.tables / "catalogue" / f"{target.mode}.parquet")))
    generator, discriminator, drawn_meta = load_generator(drawn.path, device)
    recommender, everyone = recommenders.judge(trained, device)
    order = np.random.default_rng(target.choice_seed).permutation(len(everyone))
    chosen = order if target.users == 0 else order[: target.users]
    judges = order[: max(len(chosen), JUDGES)]
    theta = recommender.theta
    return Studio(
        generator,
        discriminator,
        dataclasses.replace(recommender, theta=theta[torch.from_numpy(chosen).to(theta.device)]),
        everyone[chosen],
        theta[torch.from_numpy(judges).to(theta.device)].cpu().numpy(),
        Factors.load(trained.path / "factors.npz").phi,
        trained.run,
        drawn.run,
        tuple(drawn_meta["class_names"]),
    )


def design_rows(studio: Studio, found: Designs) -> tuple[pa.Table, dict[str, np.ndarray]]:
    """One row a (user, class), and for every user one strip: a row a class, a column a step."""
    users, classes = found.best.shape
    finished = found.pictures[:, :, -1].reshape(users * classes, *found.pictures.shape[-3:])
    rank = _own_ranks(studio, finished, np.repeat(np.arange(users), classes)).reshape(users, classes)
    rows, strips = [], {}
    for u, user in enumerate(studio.users):
        name = f"user-{user}.png"
        strips[name] = grid(found.pictures[u], row_labels=studio.classes, column_labels=_steps(found.shown_step))
        for c in range(classes):
            start = int(found.best[u, c])
            rows.append(
                {
                    "user": int(user),
                    "garment_class": studio.classes[c],
                    "item": None,
                    "start": start,
                    **_before_and_after(found.shown_score[u, c], found.shown_realism[u, c]),
                    "approximation_l1": None,
                    "own_rank": int(rank[u, c]),
                    "judges": len(studio.judges),
                    "z": found.z[u, c, start].tolist(),
                    "strip": name,
                }
            )
    return pa.Table.from_pylist(rows, schema=schemas.DESIGNS), strips


def restyled_rows(studio: Studio, found: Restyled, products: pa.Table) -> tuple[pa.Table, dict[str, np.ndarray]]:
    """One row a (product, user), and for every product one strip: a row a user; product, approximation, steps."""
    count, users = found.shown_score.shape[:2]
    finished = found.pictures[:, :, -1].reshape(count * users, *found.pictures.shape[-3:])
    rank = _own_ranks(studio, finished, np.tile(np.arange(users), count)).reshape(count, users)
    rows, strips = [], {}
    for p, product in enumerate(products.to_pylist()):
        name = f"product-{p}.png"
        shown = [np.concatenate([found.products[p][None], found.pictures[p, u]]) for u in range(users)]
        columns = ["product", *_steps(found.shown_step)]
        columns[1] = "nearest"
        strips[name] = grid(
            np.stack(shown), row_labels=[f"user {user}" for user in studio.users[:users]], column_labels=columns
        )
        for u in range(users):
            rows.append(
                {
                    "user": int(studio.users[u]),
                    "garment_class": product["garment_class"],
                    "item": product["item"],
                    "start": 0,
                    **_before_and_after(found.shown_score[p, u], found.shown_realism[p, u]),
                    "approximation_l1": float(found.distance[p]),
                    "own_rank": int(rank[p, u]),
                    "judges": len(studio.judges),
                    "z": [],
                    "strip": name,
                }
            )
    return pa.Table.from_pylist(rows, schema=schemas.DESIGNS), strips


def figures(table: pa.Table) -> dict[str, Any]:
    """Means over the rows of a DESIGNS table."""
    frame = table.to_pandas()
    gain = frame["score_after"] - frame["score_before"]
    return {
        "users": int(frame["user"].nunique()),
        "designs": len(frame),
        "preference_gain_mean": float(gain.mean()),
        "preference_gained_share": float((gain > 0).mean()),
        "own_rank_first_share": float((frame["own_rank"] == 1).mean()),
        "realism_before_mean": float(frame["realism_before"].mean()),
        "realism_after_mean": float(frame["realism_after"].mean()),
    }


def save_strips(folder: Path, strips: Mapping[str, np.ndarray]) -> Path:
    """Write the strips, in place of those of an earlier run; returns the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, picture in strips.items():
        sheets.save(folder / name, picture)
    return folder


def _own_ranks(studio: Studio, pictures: np.ndarray, owner: np.ndarray) -> np.ndarray:
    return standardised_rank(picture_features(studio.recommender, pictures), owner, studio.judges, studio.catalogue)


def _before_and_after(score: np.ndarray, realism: np.ndarray) -> dict[str, float]:
    """The scores of the pictures shown first and last."""
    return {
        "score_before": float(score[0]),
        "score_after": float(score[-1]),
        "realism_before": float(realism[0]),
        "realism_after": float(realism[-1]),
    }


def _steps(shown: np.ndarray) -> list[str]:
    return ["start" if step == 0 else f"step {step}" for step in shown]
