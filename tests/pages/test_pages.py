"""Every page in a real browser, on a telephone and on a large screen: nothing broken, nothing asked, all in reach."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PAGES = ("index", "data", "recommender", "people", "garments", "designs", "cards", "sources")
WIDTHS = (390, 1440)
SERIOUS = {"serious", "critical"}


@dataclass
class Seen:
    """An open page, and what the browser said and asked for meanwhile."""

    page: Any
    said: list[str] = field(default_factory=list)  # errors and warnings of the console, and uncaught ones
    asked: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def open(self, address: str, width: int, dark: bool = False) -> Any:
        self.page.set_viewport_size({"width": width, "height": 844})
        self.page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")
        self.page.goto(address)
        self.page.evaluate("document.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })")
        self.page.wait_for_function("[...document.images].every((image) => image.complete)")
        return self.page


@pytest.fixture
def seen(browser: Any) -> Iterator[Seen]:
    found = Seen(browser.new_page())
    page = found.page
    page.on("console", lambda line: found.said.append(line.text) if line.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: found.said.append(str(error)))
    page.on("dialog", lambda dialog: (found.said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: found.asked.append(request.url))
    page.on("requestfailed", lambda request: found.failed.append(request.url))
    page.on("response", lambda answer: found.failed.append(answer.url) if answer.status >= 400 else None)
    yield found
    page.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_silent_and_no_wider_than_its_screen(seen: Seen, address: str, name: str, width: int):
    page = seen.open(f"{address}/{name}.html", width)
    assert seen.said == [] and seen.failed == []
    assert [url for url in seen.asked if not url.startswith((address, "data:"))] == []
    broken = page.evaluate("[...document.images].filter((i) => !i.naturalWidth).map((i) => i.src)")
    assert broken == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious(seen: Seen, address: str, name: str, dark: bool):
    from axe_playwright_python.sync_playwright import Axe

    page = seen.open(f"{address}/{name}.html", WIDTHS[dark], dark)
    violations = Axe().run(page).response["violations"]
    serious = {v["id"]: [node["html"] for node in v["nodes"]] for v in violations if v["impact"] in SERIOUS}
    assert serious == {}


def test_every_figure_table_and_shelf_names_the_asset_and_the_runs_that_made_it(seen: Seen, address: str):
    sources = seen.open(f"{address}/sources.html", WIDTHS[1])
    known = sources.evaluate("[...document.querySelectorAll('tr[id]')].map((row) => [row.id, row.innerText])")
    by_name = {text.split()[0]: text for _, text in known}
    for name in PAGES[:-1]:
        page = seen.open(f"{address}/{name}.html", WIDTHS[1])
        bare = page.evaluate(
            "[...document.querySelectorAll('main table, main figure, main dl.facts, main .shelf, main .own')]"
            ".filter((e) => !e.closest('[data-from]'))"
            ".filter((e) => ((parts) => !parts.length || parts.some((part) => !part.matches('[data-from]')))"
            "([...e.querySelectorAll('tbody tr, :scope > div')]))"  # or each of its rows by itself
            ".map((e) => e.outerHTML.slice(0, 160))"
        )
        assert bare == [], name
        named = page.evaluate("[...document.querySelectorAll('[data-from]')].map((e) => ({...e.dataset}))")
        assert named, name
        for one in named:
            assert one["dagsterRun"] in by_name[one["from"]]
            assert one.get("mlflowRun", "") in by_name[one["from"]]


def test_every_link_leads_to_something(seen: Seen, address: str):
    leads: dict[str, set[str]] = {}
    for name in PAGES:
        page = seen.open(f"{address}/{name}.html", WIDTHS[1])
        links = page.evaluate("[...document.links].map((a) => a.href)")
        leads[f"{address}/{name}.html"] = set(page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)"))
        for link in links:
            assert link.startswith(address), link
            leads.setdefault(f" {link}", set())
    for link in (key[1:] for key in leads if key.startswith(" ")):
        file, _, anchor = link.partition("#")
        assert file in leads, f"{link}: there is no such page"
        assert not anchor or anchor in leads[file], f"{link} leads nowhere"


def person(page: Any, chosen: str) -> str:
    """Who is shown, alone, once the page has followed its address to `chosen`."""
    alone = "(id) => [...document.querySelectorAll('[data-person]')].every((p) => p.hidden === (p.id !== id))"
    page.wait_for_function(alone, arg=chosen, timeout=5000)
    return page.locator("[data-person]:visible").get_attribute("id")


def test_choosing_a_person_changes_the_page_and_going_back_changes_it_again(seen: Seen, address: str):
    page = seen.open(f"{address}/people.html", WIDTHS[0])
    chooser = page.locator("[data-chooses]")
    first, second = (chooser.nth(n).get_attribute("href")[1:] for n in (0, 1))
    assert person(page, first) == first != second
    chooser.nth(1).click()
    assert person(page, second) == second
    assert page.url.endswith(f"#{second}")
    assert [chooser.nth(n).get_attribute("aria-current") for n in (0, 1)] == [None, "true"]
    assert page.locator("[role=status]").inner_text() == f"Showing User {second.removeprefix('user-')}"
    page.go_back()
    assert person(page, first) == first


def test_the_keyboard_reaches_everything_that_can_be_used_and_one_sees_where_it_is(seen: Seen, address: str):
    for name in ("index", "people", "recommender"):
        page = seen.open(f"{address}/{name}.html", WIDTHS[1])
        wanted = page.evaluate(
            "[...document.querySelectorAll('a[href], button, summary, [tabindex=\"0\"]')]"
            ".filter((e) => e.checkVisibility({visibilityProperty: true})).length"
        )
        reached = page.evaluate_handle("new Set()")
        for _ in range(wanted + 1):
            page.keyboard.press("Tab")
            page.evaluate(
                "(set) => { if (document.activeElement !== document.body) set.add(document.activeElement) }", reached
            )
            if page.evaluate("(set) => set.size", reached) == 3:  # past the skip link: the outline is there to see
                style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert style not in {"none", ""}, name
        assert page.evaluate("(set) => set.size", reached) == wanted, name


def test_a_table_of_models_is_sorted_by_the_column_that_is_chosen(seen: Seen, address: str):
    page = seen.open(f"{address}/recommender.html", WIDTHS[1])
    table = page.locator("table").filter(has=page.locator("thead button")).first
    column = table.locator("thead th").all_inner_texts().index("AUC") + 1
    for order in ("descending", "ascending"):
        table.locator(f"thead th:nth-child({column}) button").press("Enter")
        assert table.locator(f"thead th:nth-child({column})").get_attribute("aria-sort") == order
        shown = [float(text) for text in table.locator(f"tbody td:nth-child({column})").all_inner_texts()]
        assert shown == sorted(shown, reverse=order == "descending") and len(set(shown)) > 1


def test_a_person_is_chosen_by_keyboard_alone(seen: Seen, address: str):
    page = seen.open(f"{address}/people.html", WIDTHS[1])
    chooser = page.locator("[data-chooses]")
    chooser.nth(0).focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    second = chooser.nth(1).get_attribute("href")[1:]
    assert person(page, second) == second


def test_without_scripts_everybody_can_be_read(browser: Any, address: str):
    page = browser.new_page()
    page.route("**/*.js", lambda route: route.abort())
    page.goto(f"{address}/people.html")
    people = page.locator("[data-person]")
    assert people.count() > 1 and all(people.nth(n).is_visible() for n in range(people.count()))
    page.close()


def test_it_opens_from_a_file_as_well(seen: Seen, lookbook: Path):
    page = seen.open((lookbook / "index.html").as_uri(), WIDTHS[0])
    assert seen.said == [] and seen.failed == []
    page.locator("nav a").nth(1).click()
    assert page.locator("h1").inner_text() == "The data"


def test_hostile_titles_run_nothing(seen: Seen, address: str):
    page = seen.open(f"{address}/people.html", WIDTHS[1])
    assert page.evaluate("document.scripts.length") == 1
    assert seen.said == []


def test_the_lookbook_weighs_less_than_three_megabytes(lookbook: Path):
    shown = [*lookbook.glob("*.html"), *(lookbook / "files").iterdir()]
    assert sum(path.stat().st_size for path in shown) < 3_000_000
