"""Write the cards of every newest model beside it. Tracking and registering them do not belong here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.cards import data, generator, recommender
from pipeline.cards.render import DATA_CARD, MODEL_CARD, plain, write
from pipeline.champions.model_registry import GENERATOR, RECOMMENDER, model_name
from pipeline.core.schemas import IMAGE_MODES
from pipeline.home.storage import ModelFolder
from pipeline.upkeep.mlflow_records import Origin
from pipeline.views.home_contents import Home

NOT_STATED = "not stated; set ATELIER_LICENCE"
OF_DRAWN = "made up by Atelier itself; MIT, like its code"


@dataclass(frozen=True)
class WrittenCards:
    """The cards of one model."""

    name: str  # recommender/vendor_all for the mode's leading one, recommender/vendor_all/NAME, or generator
    registered: str  # name of its registered model
    folder: ModelFolder
    model_card: str  # Markdown
    data_card: str
    origin: Origin


def write_all(
    home: Home, licence: str, origin: Callable[[str], Origin], registered: Callable[[str, str], dict[str, Any]]
) -> list[WrittenCards]:
    """Write both cards of each newest finished model; cards of earlier models, such as the champion, do not change.

    Args:
        home: the home with the models.
        licence: licence of the data as stated by the user; empty if not stated.
        origin: returns the record of the training with this id of a tracked run.
        registered: returns name, version and champion for the name of a registered model and a model's folder.
    """
    stated = licence or (OF_DRAWN if home.embedded else NOT_STATED)
    written = []
    of_modes = [
        (mode, number, one) for mode in IMAGE_MODES for number, one in enumerate(home.recommenders(mode).values())
    ]
    generators = [(None, 0, one) for one in [home.model("generator")] if one is not None]
    for mode, number, folder in (*of_modes, *generators):
        training = origin(folder.manifest().get("mlflow_run", ""))
        known_as = model_name(RECOMMENDER, mode) if mode else model_name(GENERATOR)
        arguments = folder, training, registered(known_as, folder.run), stated
        card = recommender.card(home, mode, *arguments) if mode else generator.card(home, *arguments)
        name = card.content["name"]
        of_data = (
            data.of_recommender(home, mode, folder, plain(name), stated)
            if mode
            else data.of_generator(home, folder, plain(name), stated)
        )
        texts = write(folder.path, MODEL_CARD, card), write(folder.path, DATA_CARD, of_data)
        kept_as = f"recommender/{mode}" + (f"/{folder.recommender}" if number else "") if mode else "generator"
        written.append(WrittenCards(kept_as, known_as, folder, *texts, training))
    return written
