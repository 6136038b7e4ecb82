"""The search for designs, by shards of users where there are many workers.

The search is `models/design/from_noise.py`, and depends on no other user; what becomes of its result is `design_tables.py`'s.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np
import torch

from models.design.from_noise import Designs, personal_designs
from models.design.preference import Recommender, device_of, on_cpu, shown_steps
from models.design.settings import DesignSettings
from models.lsgan.networks import Discriminator, Generator
from pipeline.core.shards import Runner, shard_size

Network = TypeVar("Network", bound=torch.nn.Module)


def search(
    generator: Generator,
    discriminator: Discriminator,
    recommender: Recommender,
    classes: int,
    settings: DesignSettings,
    runner: Runner,
    on_progress: Callable[[int, int], None] | None = None,
) -> Designs:
    """Designs of every class for every user of the recommender; arguments as there, progress in latents."""
    device = device_of(generator)
    gpu = device.type == "cuda"
    workers = runner.workers(gpu=gpu)
    if workers == 1:
        tell = None if on_progress is None else lambda now: on_progress(now.done, now.total)
        return personal_designs(
            generator, discriminator, recommender, range(classes), settings=settings, on_progress=tell
        )
    taste = on_cpu(recommender)
    users = len(taste.theta)
    step = shard_size(users, workers, least=_users_a_shard(settings, classes))
    shards = [range(start, min(start + step, users)) for start in range(0, users, step)]
    common = _on_cpu(generator), _on_cpu(discriminator), replace(taste, phi=_on_cpu(taste.phi))
    found = []
    for of_shard in runner.map(search_shard, shards, *common, classes, settings, str(device), gpu=gpu):
        found.append(of_shard)
        if on_progress is not None:
            done = sum(len(part.score) for part in found)
            on_progress(done * classes * settings.starts, users * classes * settings.starts)
    return joined(found)


def search_shard(
    users: range,
    generator: Generator,
    discriminator: Discriminator,
    recommender: Recommender,
    classes: int,
    settings: DesignSettings,
    device: str,
) -> Designs:
    """Designs for these rows of theta."""
    own = replace(recommender.of(torch.tensor(users)), phi=recommender.phi.to(device))
    return personal_designs(generator.to(device), discriminator.to(device), own, range(classes), settings=settings)


def _on_cpu(network: Network) -> Network:
    return copy.deepcopy(network).cpu()


def joined(parts: Sequence[Designs]) -> Designs:
    """Designs of several groups of users as those of all."""
    first = parts[0]

    def together(name: str) -> Any:
        value = getattr(first, name)
        if isinstance(value, tuple):
            return tuple(np.concatenate([getattr(part, name)[i] for part in parts]) for i in range(len(value)))
        return np.concatenate([getattr(part, name) for part in parts])

    names = {field.name for field in fields(Designs)} - {"shown_step"}  # the one without a user axis
    return Designs(shown_step=first.shown_step, **{name: together(name) for name in names})


def _users_a_shard(settings: DesignSettings, classes: int) -> int:
    """The fewest users whose latents fill whole batches in every pass of the search.

    A network's last bits depend on the batch that a picture stands in: only so are designs the same, bit by bit,
    however they are spread.
    """
    best, shown = min(settings.best, settings.starts), len(shown_steps(settings))
    rows = (classes * of_class for of_class in (settings.starts, shown, best))
    return math.lcm(*(settings.rows_at_once // math.gcd(settings.rows_at_once, of_user) for of_user in rows))
