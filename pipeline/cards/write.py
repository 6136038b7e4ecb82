"""The cards of every newest model, written beside it. Tracking and registering them is the asset's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.cards import data, generator, recommender
from pipeline.cards.render import DATA_CARD, MODEL_CARD, plain, write
from pipeline.champions.registry import GENERATOR, RECOMMENDER, model_name
from pipeline.core.schemas import IMAGE_MODES
from pipeline.home.contents import Home
from pipeline.home.storage import ModelFolder
from pipeline.upkeep.tracked_ends import Origin

NOT_STATED = "not stated; set ATELIER_LICENCE"
OF_DRAWN = "drawn by Atelier itself; MIT, as its code"


@dataclass(frozen=True)
class Written:
    """The cards of one model."""

    name: str  # recommender/vendor_all or generator
    registered: str  # its registered model
    folder: ModelFolder
    model_card: str  # Markdown
    data_card: str
    origin: Origin


def write_all(
    home: Home, licence: str, origin: Callable[[str], Origin], registered: Callable[[str, str], dict[str, Any]]
) -> list[Written]:
    """Write both cards of each newest, finished model; those of earlier ones, the champion perhaps, stay as they are.

    Args:
        home: where the models are.
        licence: of the data, as its user states it; empty where nothing was said.
        origin: what a tracked run of this id says of a training.
        registered: name, version and champion of what was registered by a name from a folder.
    """
    stated = licence or (OF_DRAWN if home.embedded else NOT_STATED)
    made = []
    for mode in (*IMAGE_MODES, None):
        folder = home.model("recommender", mode) if mode else home.model("generator")
        if folder is None:
            continue
        began = origin(folder.manifest().get("mlflow_run", ""))
        known_as = model_name(RECOMMENDER, mode) if mode else model_name(GENERATOR)
        told = folder, began, registered(known_as, folder.run), stated
        card = recommender.card(home, mode, *told) if mode else generator.card(home, *told)
        name = card.content["name"]
        of_data = (
            data.of_recommender(home, mode, folder, plain(name), stated)
            if mode
            else data.of_generator(home, folder, plain(name), stated)
        )
        texts = write(folder.path, MODEL_CARD, card), write(folder.path, DATA_CARD, of_data)
        made.append(Written(f"recommender/{mode}" if mode else "generator", known_as, folder, *texts, began))
    return made
