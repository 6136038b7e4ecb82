"""The section of cards: the model card and the data card of each newest model, as stored beside the model."""

from dataclasses import dataclass

from markdown_it import MarkdownIt

from pipeline.cards.render import DATA_CARD, MODEL_CARD, body
from pipeline.core.schemas import IMAGE_MODES
from pipeline.home.storage import ModelFolder
from pipeline.lookbook.page import LeftOut, Section
from pipeline.views.home_contents import Home
from pipeline.views.words import MODES

TITLE = "What the models are, and are not for"


@dataclass(frozen=True)
class ModelCards:
    """Both cards of a model as HTML, with their text escaped."""

    id: str
    title: str
    model: str
    data: str
    read: list[tuple[str, str | None]]  # (asset, partition) of the training and of the evaluation
    learnt: tuple[str, str | None]  # (asset, partition) of the data
    learnt_from: str  # the data in a few words, for the first page


def section(home: Home) -> Section | LeftOut:
    """Build the section from all models whose cards have been written."""
    models: list[tuple[str | None, ModelFolder]] = [
        (mode, folder) for mode in IMAGE_MODES for folder in home.recommenders(mode).values()
    ]
    models += [(None, folder) for folder in [home.model("generator")] if folder is not None]
    found = [cards for mode, folder in models if (cards := _of_model(home, mode, folder))]
    if not found:
        return LeftOut(TITLE, "no model has cards yet: materialise model_cards")
    wanted = [("model_cards", None), *(source for cards in found for source in (*cards.read, cards.learnt))]
    return Section("cards", TITLE, "Cards", {"cards": found}, home.sources(wanted))


def html(markdown: str) -> str:
    """Render Markdown as HTML below a second-level heading; HTML, links and pictures in it are shown as text."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "link", "autolink"])
    tokens = parser.parse(markdown)
    if tokens and tokens[0].type == "heading_open":  # the card's title, which the page shows already
        tokens = tokens[3:]
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{int(token.tag[1]) + 1}"
    text = parser.renderer.render(tokens, parser.options, {})
    opened = '<div class="wide" role="region" aria-label="Table of the card" tabindex="0"><table>'
    text = text.replace("<table>", opened).replace("</table>", "</table></div>")
    return text.replace("<pre>", '<pre tabindex="0">')


def _of_model(home: Home, mode: str | None, folder: ModelFolder) -> ModelCards | None:
    if not all((folder.path / name).is_file() for name in (MODEL_CARD, DATA_CARD)):
        return None
    model, data = (body((folder.path / name).read_text()) for name in (MODEL_CARD, DATA_CARD))
    read = (
        [(home.training_asset(folder, mode), mode), ("recommender_evaluation", mode)]
        if mode
        else [("lsgan", None), ("generator_evaluation", None)]
    )
    title = model.splitlines()[0].removeprefix("# ")
    words = MODES[mode] if mode else "pictures of garments, by class"
    learnt = ("splits" if mode else "garments", mode)
    name = f"card-{mode or 'generator'}"
    if mode and folder.run != next(iter(home.recommenders(mode).values())).run:
        name += f"-{folder.recommender}"
    return ModelCards(name, title, html(model), html(data), read, learnt, words)
