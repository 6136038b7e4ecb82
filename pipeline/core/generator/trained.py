"""Load a trained generator of either kind: the published LSGAN, or the one on frozen features."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.design.networks import AnyGenerator, AnyRealism
from models.garments import state as garments
from models.garments.encoder import PictureEncoder
from models.lsgan import state as lsgan
from models.training.files import UnusableFileError
from pipeline.core.images.scales import scales


@dataclass(frozen=True)
class TrainedGenerator:
    """The networks of a finished run, in eval mode and without gradients of their weights, and its meta.json."""

    generator: AnyGenerator
    realism: AnyRealism
    encoder: PictureEncoder | None  # only on frozen features
    meta: dict[str, Any]


def load(folder: Path, device: torch.device) -> TrainedGenerator:
    """Load all networks of the finished run in `folder`.

    Raises:
        FileNotFoundError: the run has not finished.
        UnusableFileError: a file is damaged.
    """
    if _on_features(folder):
        generator, meta = garments.load_generator(folder, device)
        encoder, realism, _ = garments.load_encoder(folder, scales(device), device)
        return TrainedGenerator(generator, realism, encoder, meta)
    generator, discriminator, meta = lsgan.load_generator(folder, device)
    return TrainedGenerator(generator, discriminator, None, meta)


def load_generator(folder: Path, device: torch.device) -> tuple[AnyGenerator, dict[str, Any]]:
    """Load only the generator and meta.json, which needs no frozen network; raises like `load`."""
    if _on_features(folder):
        return garments.load_generator(folder, device)
    generator, _, meta = lsgan.load_generator(folder, device)
    return generator, meta


def _on_features(folder: Path) -> bool:
    path = folder / garments.META
    if not path.is_file():
        return False  # the loader names what is missing
    try:
        return json.loads(path.read_text()).get("model") == garments.MODEL
    except (ValueError, AttributeError) as error:
        raise UnusableFileError(f"{path}: cut off or damaged; delete it and train again: it resumes") from error
