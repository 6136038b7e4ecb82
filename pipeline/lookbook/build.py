"""Assemble the lookbook: its sections in order, the figures at its head, missing parts, and caveats.

HTML and writing files do not belong here.
"""

from datetime import datetime

from pipeline.home.instance import recall
from pipeline.lookbook import cards, data, designs, garments, people, recommender, served
from pipeline.lookbook.album import Album
from pipeline.lookbook.page import LEAVES, Door, Fact, LeftOut, Page, Section
from pipeline.settings.assets import LookbookSettings
from pipeline.views.home_contents import Home
from pipeline.views.words import other_data

ALWAYS = (
    "The AUC is the share of the items a person does not have that the model ranks below the held-out item. It "
    "measures how well a hidden choice is recovered, not whether somebody would buy what is shown: nobody was asked.",
    "An item that a person did not review counts as not wanted, although the person never saw most of them. Any "
    "review, good or bad, counts as a wish, as in the paper.",
    "Intervals are bootstrapped over users, for a single training each. They do not include the effect of another "
    "seed, another hold-out or another season. Figures of different data sets are shown side by side; they are not "
    "a competition.",
)
EMBEDDED = (
    "The data of this run was drawn by Atelier itself: garments, shoppers and tastes. It shows whether the pipeline "
    "finds a taste that was planted in pictures. It says nothing about a real shop, and its figures are not results "
    "on Amazon’s data."
)
OF_REAL = (
    "This run used the files named above, perhaps a sample. It is not the data set of the paper unless these files are."
)
OF_PART = (
    "Not all users, or not those with five items, were used: {}. A sample keeps all purchases of the people in it, but "
    "items have fewer buyers than in the whole shop, so figures of a sample and of the whole cannot be compared."
)
OF_GENERATOR = (
    "The generator’s distances use ImageNet features of EfficientNet-Lite0 and few pictures. They can be compared "
    "between runs of this pipeline and with their own floor. They are not FIDs and cannot be compared with published "
    "ones."
)
OF_DESIGNS = (
    "The search maximises the score that a design is judged by, so a higher score is expected. It is not guaranteed "
    "that the person ranks the design higher than the other judges do. Nobody was asked whether they would wear it."
)


def build(home: Home, album: Album, settings: LookbookSettings, commit: str, built: datetime) -> Page:
    """Build the lookbook from whatever the home contains.

    Args:
        home: the home to show.
        album: collects the pictures.
        settings: numbers of people and pictures, and the seed of the draw.
        commit: the commit of the code that builds the lookbook.
        built: the time of building.
    """
    parts = [
        data.section(home, album),
        recommender.section(home, album),
        people.section(home, album, settings),
        garments.section(home, album),
        designs.personal(home, album, settings),
        designs.restyled(home, album, settings),
        cards.section(home),
    ]
    sections = tuple(part for part in parts if isinstance(part, Section))
    return Page(
        label=home.label,
        extent=home.extent,
        embedded=home.embedded,
        files=tuple(home.files()),
        facts=_facts(home),
        commit=commit,
        profile=recall(home.storage.home).get("profile"),
        built=built,
        sections=sections,
        left_out=tuple(part for part in parts if isinstance(part, LeftOut)),
        notes=_notes(home, {section.id for section in sections}),
        doors=_doors(sections),
        popularity=served.popularity_served(home),
        lists=served.lists(home),
    )


def _facts(home: Home) -> tuple[Fact, ...]:
    """Collect the figures at the head of the lookbook, as far as they exist."""
    core = home.metadata("interactions").get("counts", {})
    ledger, designed = home.metadata("image_ledger"), home.metadata("personal_designs")
    modes = home.modes("recommender_evaluation")
    mode = people.PREFERRED_MODE if people.PREFERRED_MODE in modes else next(iter(modes), None)
    auc = home.metadata("recommender_evaluation", mode).get("test_auc") if mode else None
    agreement = home.metadata("generator_evaluation").get("judge_agreement")
    facts = [
        (core.get("five_core_users"), people_with(home), "{:,}", "interactions", None),
        (core.get("five_core_items"), "items they chose", "{:,}", "interactions", None),
        (None if core else home.metadata("products").get("dagster/row_count"), "products", "{:,}", "products", None),
        (ledger.get("images_ok"), "working pictures", "{:,}", "image_ledger", None),
        (auc, "test AUC of the recommender; 0.5 is chance", "{:.3f}", "recommender_evaluation", mode),
        (agreement, "of generated garments are recognised by a judge", "{:.0%}", "generator_evaluation", None),
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


def people_with(home: Home) -> str:
    """Describe the people of the k-core, and whether they are a sample."""
    enough = "a purchase or more" if home.k == 1 else f"at least {home.k} purchases"
    core = home.metadata("interactions").get("counts", {})
    drawn_from = core.get("users_with_k_items")
    return f"people with {enough}, a sample of {drawn_from:,}" if drawn_from else f"people with {enough}"


def _doors(sections: tuple[Section, ...]) -> tuple[Door, ...]:
    """Make the links to the other pages, each with a few pictures from that page."""
    content = {section.id: section.content for section in sections}
    people, classes = content.get("people", {}).get("people", []), content.get("garments", {}).get("classes", [])
    designed = content.get("designs", {}).get("made", [])
    picked = [card.picture for person in people for card, _ in person.picks[:1] if card.picture]
    space, rows = content.get("recommender", {}).get("map"), content.get("data", {}).get("sheets", [])
    chosen = {
        "data": (
            "What was read, what each step removed, and what the pictures look like",
            [r.picture for r in rows][:1],
        ),
        "recommender": (
            "How well taste is predicted, for whom, and compared with what",
            [space.picture] if space else [],
        ),
        "people": ("What a person bought, what they would be shown, and why", picked[:3]),
        "garments": (
            "What the generator draws, and how close that is to its training pictures",
            [c.garments for c in classes[:1]],
        ),
        "cards": ("What each model is, what it was trained on, and what not to use it for", []),
        "designs": (
            "Garments made for one person",
            [d.strip for one in designed[:1] for d in one.designs[:2] if d.strip],
        ),
    }
    lines = {
        "cards": [(one.title.partition(",")[0], one.learnt_from) for one in content.get("cards", {}).get("cards", [])]
    }
    return tuple(
        Door(name, *chosen[name], lines.get(name, []))
        for name, (_, ids) in LEAVES.items()
        if any(i in content for i in ids)
    )


def _notes(home: Home, shown: set[str]) -> tuple[str, ...]:
    notes = [EMBEDDED if home.embedded else OF_REAL]
    notes += [OF_PART.format(home.extent)] if home.extent else []
    for mode in home.modes("recommender_evaluation"):
        extent = home.metadata("recommender_evaluation", mode).get("extent", "")
        notes += [f"{other_data(mode, extent)}."] if extent != home.extent else []
    notes += ALWAYS if "recommender" in shown else ()
    notes += (OF_GENERATOR,) if "garments" in shown else ()
    notes += (OF_DESIGNS,) if "designs" in shown else ()
    return tuple(notes)
