"""The recommender of an image mode, whichever method the run's preset names: DVBPR from pixels, or `modern`.

Here stands in what the two differ: whose settings count, what they learn from, how they are trained, and how a picture
that is in no catalogue is scored. Training itself is `models/`; folders and tracking belong to the asset.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

from models import train_dvbpr, train_modern
from models.dvbpr_progress import Progress
from models.dvbpr_settings import DvbprSettings
from models.factors import Factors
from models.modern import Modern, looks
from models.modern_settings import ModernSettings
from models.preference import Recommender
from models.trunk import Trunk, retrained
from pipeline.core import arrays, digests
from pipeline.core import parquet as pq
from pipeline.core.dataset.triplets import TripletSettings
from pipeline.core.images import features
from pipeline.core.images.bank import Bank
from pipeline.core.raw.sources import BadInput
from pipeline.core.recommender_names import DVBPR, MODERN
from pipeline.method import Method
from pipeline.scale import ranked
from pipeline.storage import ModelFolder, Storage, digest
from pipeline.views.metadata import table_digest

Trained = train_dvbpr.Trained | train_modern.Trained


@dataclass(frozen=True)
class Learner:
    """What one mode's recommender is to be, before it is trained.

    `fit` takes the model's folder, the device, who is told and the folder of a model to begin from, or None; it goes on
    with what it finds in the model's own folder.
    """

    name: str  # one of `recommender_names.NAMES`
    settings: DvbprSettings | ModernSettings
    inputs: dict[str, str]  # digests of what it learns from
    configuration: dict[str, dict[str, Any]]  # all that was set, nested: another one is another line of models
    goes_on: bool  # whether it can begin from the model before; one that learns in seconds need not
    ranks: int  # processes that train it; one that learns in seconds needs one
    fit: Callable[[Path, torch.device, Callable[[Progress], None], Path | None], Trained]
    about: dict[str, Any]  # what whoever uses the model must know beside its settings


def learner(
    method: Method,
    config: dg.Config,
    storage: Storage,
    bank: Bank,
    catalogue: pa.Table,
    splits: pa.Table,
    triplets: pa.Table,
    ranks: int = 1,
) -> Learner:
    """The recommender that the run's preset names, over one mode's tables; DVBPR is trained by `ranks` processes.

    Raises:
        BadInput: settings do not fit, or bank, features and catalogue do not belong together.
    """
    tables = {"catalogue": table_digest(catalogue), "splits": table_digest(splits)}
    arrays.check_bank(catalogue, tables["catalogue"], bank)
    mode = arrays.mode_arrays(catalogue, splits)
    of_rows, pixels = bank.digest_of(catalogue["bank_row"].to_numpy()), {"size": bank.size, "resample": bank.resample}
    if method.chosen_preset() != MODERN:
        settings = method.settings(DvbprSettings, "dvbpr", config)
        sampling = vars(method.settings(TripletSettings, "triplets"))
        return Learner(
            DVBPR,
            settings,
            {**tables, "triplets": table_digest(triplets), "image_bank": of_rows[:16]},
            {"dvbpr": settings.plain(), "triplets": sampling, "image_bank": pixels},
            goes_on=True,
            ranks=ranks,
            fit=partial(_fit_dvbpr, mode, triplets, bank, settings, ranks),
            about={},
        )
    settings = method.settings(ModernSettings, "dvbpr", config)
    found, made_by = frozen_features(storage, bank), storage.features_made_by()
    return Learner(
        MODERN,
        settings,
        {**tables, "image_features": digest(made_by, of_rows)},
        {"modern": settings.plain(), "image_features": {"made_by": made_by}},
        goes_on=False,
        ranks=1,
        fit=partial(_fit_modern, mode, bank, found, settings, storage.features_size()),
        about={"feature_size": storage.features_size()},
    )


def trunk_for(settings: ModernSettings, size: int) -> Trunk | None:
    """What the features of pictures of `size` pixels a side are made with, where these settings train it."""
    return Trunk(features.trunk(torch.device("cpu")), size) if settings.trunk_epochs else None


def frozen_features(storage: Storage, bank: Bank) -> np.ndarray:
    """The current frozen features, a memory map [rows of the bank, F].

    Raises:
        BadInput: there are none, or they are of another bank.
    """
    path = storage.current_features()
    found = np.load(path, mmap_mode="r")
    if len(found) != len(bank.pixels):
        raise BadInput(
            f"{path} has features of {len(found):,} pictures, the bank {bank.folder} has {len(bank.pixels):,} (digest "
            f"{bank.digest}): materialise image_features again."
        )
    digests.expect_rows(path, found, "delete it and materialise image_features again.")
    return found


@dataclass(frozen=True)
class Judge:
    """A trained recommender as the designs need it."""

    name: str  # one of `recommender_names.NAMES`
    recommender: Recommender  # Phi of any picture, and theta of everybody
    users: np.ndarray  # [U] int32, their global ids
    catalogue: np.ndarray  # [images, K], Phi of the mode's pictures by their looks alone


def judge(folder: ModelFolder, device: torch.device) -> Judge:
    """The recommender in a model's folder."""
    manifest, factors = folder.manifest(), Factors.load(folder.opened / "factors.npz")
    if manifest.get("model", DVBPR) == DVBPR:
        cnn, theta, meta = train_dvbpr.load(folder.path, device)
        taste = Recommender(cnn, meta["input_size"], theta.detach())
        return Judge(DVBPR, taste, np.asarray(meta["users"]), factors.phi)
    model, meta = train_modern.load(folder.path, device)
    trunk = features.trunk(device)
    taste = Recommender(
        PhiOfPictures(retrained(trunk, meta["trunk"]) if meta["trunk"] else trunk, model),
        manifest["feature_size"],
        torch.from_numpy(factors.theta).to(device),
        resample="bilinear",  # as the features it learnt from were made (`core/images/features.py`)
    )
    return Judge(MODERN, taste, factors.users, _looks(folder, model, factors))


def _looks(folder: ModelFolder, model: Modern, factors: Factors) -> np.ndarray:
    if model.item_id is None:
        return factors.phi
    splits = pq.read_table(folder.path / "splits.parquet", columns=["item", "split"])
    train = splits.filter(pc.equal(splits["split"], "train"))["item"].to_numpy()
    return looks(model, factors, np.isin(factors.items, train))


class PhiOfPictures(nn.Module):
    """Pictures [B, 3, S, S] in [-1, 1] to what theta scores [B, K + 1], through the trunk; differentiable."""

    def __init__(self, trunk: nn.Module, model: Modern) -> None:
        super().__init__()
        self.trunk, self.model = trunk, model

    def forward(self, pictures: Tensor) -> Tensor:
        """[B, K + 1]."""
        return self.model.looks_of(self.trunk(pictures))


def _fit_dvbpr(
    mode: arrays.ModeArrays,
    triplets: pa.Table,
    bank: Bank,
    settings: DvbprSettings,
    ranks: int,
    folder: Path,
    device: torch.device,
    progress: Callable[[Progress], None],
    begin_from: Path | None,
) -> Trained:
    data = arrays.dataset(mode, triplets, bank)
    return ranked.train_recommender(data, settings, folder, device, progress, begin_from, ranks)


def _fit_modern(
    mode: arrays.ModeArrays,
    bank: Bank,
    found: np.ndarray,
    settings: ModernSettings,
    size: int,
    folder: Path,
    device: torch.device,
    progress: Callable[[Progress], None],
    begin_from: Path | None,
) -> Trained:
    assert begin_from is None
    data = arrays.dataset(mode, None, bank)
    trunk = trunk_for(settings, size)
    return train_modern.train(data, np.asarray(found[data.bank_row]), settings, folder, device, progress, trunk)
