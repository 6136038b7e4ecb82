"""The lookbook put together: its sections in order, the figures at its head, what is left out and cannot be said.

What a section says is its own module's; HTML is the templates', writing is `publish.py`'s.
"""

from datetime import datetime

from pipeline.home.contents import Home
from pipeline.home.instance import recall
from pipeline.lookbook import cards, data, designs, garments, people, recommender
from pipeline.lookbook.album import Album
from pipeline.lookbook.page import LEAVES, Door, Fact, LeftOut, Page, Section
from pipeline.settings.assets import LookbookSettings

ALWAYS = (
    "The AUC is the share of all items a person does not have that the model puts below the one that was held out. "
    "It says how well a hidden choice is recovered, not whether somebody would buy what is shown: nobody was asked.",
    "An item that a person did not review counts as not wanted, although most were never seen. Any review, good or "
    "bad, counts as a wish, as in the paper.",
    "Intervals are bootstrapped over users, for one training each. They do not hold what another seed, another "
    "hold-out or another season would change. Figures of different data sets stand beside each other here; they are "
    "no race.",
)
EMBEDDED = (
    "The data of this run was drawn by Atelier itself: garments, shoppers and tastes. It shows whether the machinery "
    "finds a taste that was planted in pictures. It says nothing about a shop, and its figures are no result on "
    "Amazon’s data."
)
OF_REAL = (
    "This run’s data is what its files hold, perhaps a sample; it is not the data set of the paper unless the files "
    "are."
)
OF_GENERATOR = (
    "The generator’s distances rest on ImageNet features of EfficientNet-Lite0 and on few pictures. They compare runs "
    "of this pipeline with one another and with their own floor; they are no FID and cannot be held against published "
    "ones."
)
OF_DESIGNS = (
    "A design’s score is given by the model that the search climbed, so a gain is expected; what is not given is that "
    "its own person ranks it above the other judges. Nobody has been asked whether they would wear it."
)


def build(home: Home, album: Album, settings: LookbookSettings, commit: str, built: datetime) -> Page:
    """The page from what there is.

    Args:
        home: what is shown.
        album: takes the pictures.
        settings: how many people and pictures, and the draw.
        commit: the code that makes the page.
        built: when.
    """
    made = [
        data.section(home, album),
        recommender.section(home, album),
        people.section(home, album, settings),
        garments.section(home, album),
        designs.personal(home, album, settings),
        designs.restyled(home, album, settings),
        cards.section(home),
    ]
    sections = tuple(part for part in made if isinstance(part, Section))
    return Page(
        label=home.label,
        embedded=home.embedded,
        files=tuple(home.files()),
        facts=_facts(home),
        commit=commit,
        profile=recall(home.storage.home).get("profile"),
        built=built,
        sections=sections,
        left_out=tuple(part for part in made if isinstance(part, LeftOut)),
        notes=_notes(home, {section.id for section in sections}),
        doors=_doors(sections),
    )


def _facts(home: Home) -> tuple[Fact, ...]:
    """The figures at the head of the lookbook, those that there are."""
    core = home.metadata("interactions").get("counts", {})
    ledger, designed = home.metadata("image_ledger"), home.metadata("personal_designs")
    modes = home.modes("recommender_evaluation")
    mode = people.PREFERRED_MODE if people.PREFERRED_MODE in modes else next(iter(modes), None)
    auc = home.metadata("recommender_evaluation", mode).get("test_auc") if mode else None
    agreement = home.metadata("generator_evaluation").get("class_agreement")
    facts = [
        (core.get("five_core_users"), "people with five purchases or more", "{:,}", "interactions", None),
        (core.get("five_core_items"), "items they chose", "{:,}", "interactions", None),
        (None if core else home.metadata("products").get("dagster/row_count"), "products", "{:,}", "products", None),
        (ledger.get("images_ok"), "working pictures", "{:,}", "image_ledger", None),
        (auc, "test AUC of the recommender; 0.5 is chance", "{:.3f}", "recommender_evaluation", mode),
        (agreement, "of generated garments look like their class", "{:.0%}", "generator_evaluation", None),
        (
            designed.get("own_rank_first_share"), "of designs rank first with their own person", "{:.0%}",
            "personal_designs", None,
        ),
    ]  # fmt: skip
    return tuple(
        Fact(form.format(value), words, asset, partition)
        for value, words, form, asset, partition in facts
        if value is not None
    )


def _doors(sections: tuple[Section, ...]) -> tuple[Door, ...]:
    """The pages beside the first one, each with a picture or two of what is behind it."""
    content = {section.id: section.content for section in sections}
    people, classes = content.get("people", {}).get("people", []), content.get("garments", {}).get("classes", [])
    made = content.get("designs", {}).get("made", [])
    picked = [card.picture for person in people for card, _ in person.picks[:1] if card.picture]
    space, rows = content.get("recommender", {}).get("map"), content.get("data", {}).get("sheets", [])
    chosen = {
        "data": (
            "What was read, what was lost on the way, and what its pictures look like",
            [r.picture for r in rows][:1],
        ),
        "recommender": ("How well taste is predicted, for whom, and beside what", [space.picture] if space else []),
        "people": ("What a person bought, what they would be shown, and why", picked[:3]),
        "garments": (
            "What the generator draws, and how near that is to what it learnt from",
            [c.garments for c in classes[:1]],
        ),
        "cards": ("What each model is, what it learnt from, and what it is not for", []),
        "designs": ("Garments made for one person", [d.strip for one in made[:1] for d in one.designs[:2] if d.strip]),
    }
    lines = {
        "cards": [(one.title.partition(",")[0], one.learnt_from) for one in content.get("cards", {}).get("cards", [])]
    }
    return tuple(
        Door(name, *chosen[name], lines.get(name, []))
        for name, (_, ids) in LEAVES.items()
        if any(i in content for i in ids)
    )


def _notes(home: Home, there: set[str]) -> tuple[str, ...]:
    notes = [EMBEDDED if home.embedded else OF_REAL]
    notes += ALWAYS if "recommender" in there else ()
    notes += (OF_GENERATOR,) if "garments" in there else ()
    notes += (OF_DESIGNS,) if "designs" in there else ()
    return tuple(notes)
