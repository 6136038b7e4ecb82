"""Trade preference against realism: repeat the search for designs over a range of eta, all else equal."""

from collections.abc import Callable
from dataclasses import replace

from models.design.from_noise import personal_designs
from models.design.settings import DesignSettings
from pipeline.designs.designs import Studio
from pipeline.designs.tables import design_rows, figures
from pipeline.settings.assets import DesignTradeoffSettings

# The figures that differ between the weights.
SHOWN = (
    "preference_gain_sd_mean", "preference_gained_share", "own_rank_first_share", "own_rank_in_class_first_share",
    "realism_before_mean", "realism_after_mean", "nearest_l1_mean",
)  # fmt: skip


def sweep(
    studio: Studio,
    settings: DesignSettings,
    over: DesignTradeoffSettings,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, float]]:
    """Measure the designs made with each weight of `over.etas`; return one row per weight, ascending.

    A row has `eta` and the figures. Users, classes and starts are the same in all rows, so only eta differs.
    """
    rows = []
    etas = sorted(set(over.etas))
    for done, eta in enumerate(etas, start=1):
        chosen = replace(settings, eta=eta, starts=over.sweep_starts, best=1, every_step=False)
        found = personal_designs(
            studio.generator, studio.discriminator, studio.recommender, range(len(studio.classes)), settings=chosen
        )
        measured = figures(design_rows(studio, found)[0])
        rows.append({"eta": float(eta), **{name: measured[name] for name in SHOWN}})
        if on_progress is not None:
            on_progress(done, len(etas))
    return rows
