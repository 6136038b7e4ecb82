"""Search for designs, in shards of users if there are several workers: users' searches are independent."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np
import torch

from models.design.from_noise import Designs, personal_designs
from models.design.networks import AnyGenerator, AnyRealism
from models.design.preference import PictureTaste, device_of, on_cpu, shown_steps
from models.design.settings import DesignSettings
from pipeline.core.shards import Runner, shard_size

Network = TypeVar("Network", bound=torch.nn.Module)


def search(
    generator: AnyGenerator,
    discriminator: AnyRealism,
    recommender: PictureTaste,
    classes: int,
    settings: DesignSettings,
    runner: Runner,
    on_progress: Callable[[int, int], None] | None = None,
) -> Designs:
    """Search designs of every class for every user of the recommender.

    Arguments are those of `personal_designs`; progress is counted in latents.
    """
    device = device_of(generator)
    gpu = device.type == "cuda"
    workers = runner.workers(gpu=gpu)
    if workers == 1:
        report = None if on_progress is None else lambda now: on_progress(now.done, now.total)
        return personal_designs(
            generator, discriminator, recommender, range(classes), settings=settings, on_progress=report
        )
    taste = on_cpu(recommender)
    users = len(taste.theta)
    step = shard_size(users, workers, least=_users_a_shard(settings, classes))
    shards = [range(start, min(start + step, users)) for start in range(0, users, step)]
    common = _on_cpu(generator), _on_cpu(discriminator), replace(taste, phi=_on_cpu(taste.phi))
    parts = []
    for of_shard in runner.map(search_shard, shards, *common, classes, settings, str(device), gpu=gpu):
        parts.append(of_shard)
        if on_progress is not None:
            done = sum(len(part.score) for part in parts)
            on_progress(done * classes * settings.starts, users * classes * settings.starts)
    return joined(parts)


def search_shard(
    users: range,
    generator: AnyGenerator,
    discriminator: AnyRealism,
    recommender: PictureTaste,
    classes: int,
    settings: DesignSettings,
    device: str,
) -> Designs:
    """Search designs for these rows of theta."""
    own = replace(recommender.of(torch.tensor(users)), phi=recommender.phi.to(device))
    return personal_designs(generator.to(device), discriminator.to(device), own, range(classes), settings=settings)


def _on_cpu(network: Network) -> Network:
    return copy.deepcopy(network).cpu()


def joined(parts: Sequence[Designs]) -> Designs:
    """Concatenate the designs of several groups of users."""
    first = parts[0]

    def together(name: str) -> Any:
        value = getattr(first, name)
        if isinstance(value, tuple):
            return tuple(np.concatenate([getattr(part, name)[i] for part in parts]) for i in range(len(value)))
        return np.concatenate([getattr(part, name) for part in parts])

    names = {field.name for field in fields(Designs)} - {"shown_step"}  # the one without a user axis
    return Designs(shown_step=first.shown_step, **{name: together(name) for name in names})


def _users_a_shard(settings: DesignSettings, classes: int) -> int:
    """Return the fewest users whose latents fill whole batches in every pass of the search.

    The last bits of a network's output depend on the batch a picture is in. With whole batches, designs are bitwise
    equal however users are spread over workers.
    """
    best, shown = min(settings.best, settings.starts), len(shown_steps(settings))
    rows = (classes * of_class for of_class in (settings.starts, shown, best))
    return math.lcm(*(settings.rows_at_once // math.gcd(settings.rows_at_once, of_user) for of_user in rows))
