"""Inspect the input before a run, and stop with the cause where nothing can come of it.

Only local files and SQLite's tables are inspected here, because ingest downloads and retries URLs; the check of
`image_urls` judges those before a picture is fetched. What is read here is kept as parts, so ingest does not read it
again.
"""

import time
from collections.abc import Callable, Collection

from rich.console import Console

from pipeline.core.durable import sole_writer
from pipeline.core.erasure import Erasures
from pipeline.core.errors import InputError
from pipeline.core.raw.ingest import ReadContext
from pipeline.core.raw.sources import is_far
from pipeline.home.storage import Storage
from pipeline.inspection.causes import nothing_read, pointless
from pipeline.inspection.facts import KS, Facts
from pipeline.inspection.measuring import measure
from pipeline.runtime.plan import generator_alone
from pipeline.runtime.resources import RawSources
from pipeline.settings.assets import FiveCoreSettings, IngestSettings
from pipeline.settings.method import Method

READS, FETCHES = "reviews", "image_urls"


def inspect_before(
    raw: RawSources,
    storage: Storage,
    method: Method,
    core: FiveCoreSettings,
    selected: Collection[str],
    console: Console,
    say: Callable[[str], object],
    anyway: bool,
) -> bool:
    """Inspect the files before the selected assets are made; return whether they were inspected.

    Nothing is inspected if the run does not read files, or if a file is on a server. Where it lists no pictures, only
    files of which no line can be read stop it.

    Args:
        raw: the files.
        storage: the home, which keeps the parts.
        method: of the run.
        core: the k and the sample of the run.
        selected: the names of the assets that will be made.
        console: shows that files are read.
        say: called with a line of text: what was found, and each cause that `anyway` overrules.
        anyway: go on although nothing can come of it.

    Raises:
        InputError: nothing can come of the run; the message is the cause.
    """
    if READS not in selected or is_far(raw.reviews) or is_far(raw.products):
        return False
    k = core.k
    started = time.monotonic()
    with console.status("inspecting the input"):
        facts = _facts(raw, storage, method.settings(IngestSettings, "ingest").vintage, core)
    if FETCHES in selected:
        say(f"inspected: {_in_short(facts, k)} ({time.monotonic() - started:.1f} s; details: atelier inspect)")
        for line in facts.understood:
            say(f"understood: {line}")
        found = pointless(facts, k, generator_alone(selected))
    else:
        found = nothing_read(facts)
    for cause in found:
        if not anyway:
            raise InputError(cause.stop)
        say(f"going on, although nothing can come of this run: {cause.text}")
    return True


def _facts(raw: RawSources, storage: Storage, vintage: str, core: FiveCoreSettings) -> Facts:
    with sole_writer(storage.staged) as staged:
        context = ReadContext(staged, storage.parts, Erasures.of(storage.home))
        reviews, products = raw.review_files(), raw.product_files()
        shop = raw.shop_layout(reviews, products)
        draw = (core.k, core.sample) if core.sample else None
        return measure(reviews, products, context, vintage, sorted({*KS, core.k}), shop, draw=draw)


def _in_short(facts: Facts, k: int) -> str:
    tables = facts.tables
    products = f"{tables.products:,} products, {tables.with_picture:,} with a picture's address"
    if facts.review_lines is None:
        return products
    found, core = f"{tables.reviews:,} reviews by {tables.users:,} users of {tables.items:,} items", tables.core(k)
    label = tables.extent.label if tables.extent else f"k = {k}"
    return f"{found}; {products}; {label}: {core.users:,} users and {core.items:,} items"
