"""The report: cards of the trained models, and a lookbook over everything.

Code that builds and writes them belongs in `pipeline/cards/` and `pipeline/lookbook/`.
"""

from datetime import UTC, datetime
from functools import partial

import dagster as dg

from pipeline.champions.model_registry import Registry
from pipeline.home.storage import Storage, digest
from pipeline.lookbook.page import Page
from pipeline.recommenders.registry import main
from pipeline.runtime.provenance import commit
from pipeline.runtime.resources import RawSources
from pipeline.runtime.tracking import Tracker
from pipeline.settings.assets import LookbookSettings
from pipeline.settings.launchpad import LookbookConfig
from pipeline.settings.method import Method
from pipeline.upkeep.mlflow_records import origin
from pipeline.views.home_contents import Home
from pipeline.views.metadata import file

GROUP = "report"
# The lookbook reads these from the home, not as inputs: if one is missing, only its section is left out.
WHOLE = (
    "reviews", "products", "rejects", "interactions", "users", "items", "image_urls", "image_ledger", "image_bank",
    "recommender_comparison", "garments", "lsgan", "generator_evaluation", "generated_garments", "personal_designs",
    "restyled_products", "designs_tradeoff", "model_cards",
)  # fmt: skip
TRAINED = tuple(one.op for one in main())
BY_MODE = (
    "splits",
    "catalogue",
    "triplets",
    *TRAINED,
    "recommender_evaluation",
    "recommender_champion",
    "recommendations",
)

CARDS_READ = ("recommender_comparison", "garments", "lsgan", "generator_evaluation", "generator_champion")
CARDS_READ_BY_MODE = (*TRAINED, "recommender_evaluation", "recommender_champion")


def _each_mode(*names: str) -> list[dg.AssetDep]:
    return [dg.AssetDep(name, partition_mapping=dg.AllPartitionMapping()) for name in names]


@dg.asset(
    group_name=GROUP,
    kinds={"markdown", "mlflow"},
    code_version="1",
    deps=[*CARDS_READ, *_each_mode(*CARDS_READ_BY_MODE)],
)
def model_cards(
    context: dg.AssetExecutionContext, storage: Storage, tracker: Tracker, raw: RawSources
) -> dg.MaterializeResult:
    """Write a model card and a data card beside each trained model, in MLflow, and on its registered version."""
    from pipeline.cards.render import DATA_CARD, MODEL_CARD, body
    from pipeline.cards.write import write_all

    home = Home(storage, context.instance, raw)
    with tracker.run(context) as run:
        store = Registry(run.client, run.uri)
        made = write_all(home, raw.licence, partial(origin, tracker), store.status)
        for cards in made:
            for name in (MODEL_CARD, DATA_CARD):
                run.file(cards.folder.path / name, cards.name)
                if cards.origin.known:
                    run.client.log_artifact(cards.folder.manifest()["mlflow_run"], str(cards.folder.path / name))
            version = store.find(cards.registered, cards.folder.run)
            if version is not None:
                store.describe(version, body(cards.model_card))
        link = run.link()
    rows = [f"| {cards.name} | `{cards.folder.path / MODEL_CARD}` |" for cards in made]
    return dg.MaterializeResult(
        metadata={
            "cards": 2 * len(made),
            "preview": dg.MetadataValue.md("\n".join(["| model | card |", "|---|---|", *rows])),
            **{cards.name: dg.MetadataValue.md(body(cards.model_card)) for cards in made},
            **link,
        },
        data_version=dg.DataVersion(digest([(c.name, c.model_card, c.data_card) for c in made])),
    )


@dg.asset(
    group_name=GROUP,
    kinds={"html"},
    code_version="2",
    deps=[*WHOLE, *_each_mode(*BY_MODE)],
)
def lookbook(
    context: dg.AssetExecutionContext, config: LookbookConfig, method: Method, storage: Storage, raw: RawSources
) -> dg.MaterializeResult:
    """Build pages that show the data, the models' metrics beside the paper's, and the garments they made."""
    from pipeline.lookbook.album import Album
    from pipeline.lookbook.build import build
    from pipeline.lookbook.publish import publish

    settings = method.settings(LookbookSettings, "lookbook", config)
    album = Album()
    page = build(Home(storage, context.instance, raw), album, settings, commit(), datetime.now(UTC))
    for left in page.left_out:
        context.log.info(f"left out: {left.title} ({left.reason})")
    published = publish(page, album, storage.reports)
    return dg.MaterializeResult(
        metadata={
            "preview": dg.MetadataValue.md(_facts(page)),
            "page": file(published.path.resolve()),
            "sections": len(page.sections),
            "left_out": [left.title for left in page.left_out],
            "people": page.people,
            "files": published.files,
            "bytes": published.size,
        }
    )


def _facts(page: Page) -> str:
    """Format the facts at the top of the lookbook as a Markdown table."""
    return "\n".join(["| | |", "|---:|---|", *(f"| **{fact.value}** | {fact.words} |" for fact in page.facts)])
