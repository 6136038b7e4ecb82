"""A catalogue of 3,000 items and 400 people: pages no heavier, and what is not in sight is not loaded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from tests.pages.browser import served
from tests.pages.test_pages import WIDTHS
from tests.pipeline.lookbook.made_up import MadeUp

ELEMENTS = 4000  # of a page; browsers begin to warn at 1,400, and slow down at tens of thousands
WEIGHT = 3_000_000


class Large(MadeUp):
    """A shop whose people each bought ten things and are shown eight."""

    users, items, bought, picks, apart = 400, 3000, 10, 8, 7

    def picture(self, item: int) -> np.ndarray:
        """Drawn: stripes of two colours of the item's own, and some grain, so that it weighs what a photo weighs."""
        rng = np.random.default_rng(item)
        ground, stripe = rng.integers(40, 230, (2, 3))
        striped = np.arange(150)[:, None, None] // (5 + item % 9) % 2
        drawn = np.where(striped, ground, stripe) + rng.integers(-12, 12, (150, 100, 1))
        return np.clip(np.broadcast_to(drawn, (150, 100, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    with dg.DagsterInstance.ephemeral() as instance:
        made_up = Large(tmp_path_factory.mktemp("large"), instance)
        made_up.with_products().with_reviews().with_generator().with_designs().with_cards()
        folder = made_up.publish(reviews="/somewhere/large/reviews.json").path.parent
    with served(folder) as address:
        yield folder, address


def test_the_pages_weigh_no_more_than_a_small_shops(large: tuple[Path, str]):
    shown = [*large[0].glob("*.html"), *(large[0] / "files").iterdir()]
    assert sum(path.stat().st_size for path in shown) < WEIGHT


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["index", "data", "recommender", "people", "garments", "designs", "cards"])
def test_a_page_is_bounded_and_scrolls_to_its_end(browser: Any, large: tuple[Path, str], name: str, width: int):
    page = browser.new_page()
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(f"{large[1]}/{name}.html", wait_until="networkidle")
    assert page.evaluate("document.querySelectorAll('*').length") < ELEMENTS
    eager = page.evaluate("[...document.images].filter((i) => i.loading !== 'lazy' && !i.closest('.door')).length")
    assert eager == 0
    sized = "[...document.images].every((i) => i.hasAttribute('width') && i.hasAttribute('height'))"
    assert page.evaluate(sized), "a page would jump as they come"
    page.keyboard.press("End")
    page.wait_for_function("Math.ceil(scrollY + innerHeight) >= document.documentElement.scrollHeight - 1")
    page.wait_for_function(
        "[...document.images].filter((i) => { const at = i.getBoundingClientRect();"
        " return i.checkVisibility() && at.bottom > 0 && at.top < innerHeight; }).every((i) => i.complete)"
    )
    page.close()


def test_pictures_of_people_who_are_not_shown_are_not_loaded(browser: Any, large: tuple[Path, str]):
    page = browser.new_page()
    loaded: set[str] = set()
    page.on("request", lambda asked: loaded.add(asked.url) if asked.resource_type == "image" else None)
    page.set_viewport_size({"width": WIDTHS[0], "height": 844})
    page.goto(f"{large[1]}/people.html", wait_until="networkidle")
    held = page.evaluate("new Set([...document.images].map((i) => i.src)).size")
    assert len(loaded) < held / 2
    page.close()
