"""Tables of studies in documents: what a marker asks for is written, and nothing else of the page changes."""

import json
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from pipeline.core.errors import InputError
from pipeline.study import figures, page, tables
from pipeline.study.measures import MEASURES
from tests.pipeline.study.test_figures import SETTINGS, rows

ROOT = Path(__file__).parents[3]
SUMMARY = "<!-- study hm random vendor_single summary vbpr -->\nolder\n<!-- end of study -->\n"


def report() -> dict:
    cells = pd.concat([rows("vbpr", 0, 0, [0.5, 0.6]), rows("dvbpr", 0, 0, [0.6, 0.8])])
    found = figures.of_mode(cells, "vbpr", SETTINGS) | {"reference": "vbpr", "skipped": []}
    return {"protocols": {"random": {"vendor_single": found}}, "weeks": {}}


def test_a_marker_gets_its_table_with_the_models_it_names_and_the_rest_stays():
    text = f"before\n{SUMMARY}between\n{SUMMARY.replace(' vbpr ', ' ').replace('hm', 'other')}after\n"
    made = page.filled(text, {"hm": report()})
    found = report()["protocols"]["random"]["vendor_single"]
    table = "\n".join(line for line in tables.summary(found) if not line.startswith("| dvbpr"))
    assert made == text.replace("vbpr -->\nolder", f"vbpr -->\n{table}", 1)
    assert page.filled(made, {"hm": report()}) == made


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("hm random vendor_single", "one of the tables summary, ranking"),
        ("hm random vendor_single rank", "one of the tables summary, ranking"),
        ("hm time vendor_single ranking", "has no finished cells of time, vendor_single"),
        ("hm random vendor_single by_week", "it is of weeks"),
        ("hm random vendor_single ranking modern", "no model modern"),
        ("hm random vendor_single ablation", "has nothing for this table"),
    ],
)
def test_a_marker_that_asks_for_what_is_not_there_is_refused(words: str, said: str):
    with pytest.raises(InputError, match=said):
        page.filled(SUMMARY.replace("hm random vendor_single summary vbpr", words), {"hm": report()})


def test_the_command_writes_the_documents_from_report_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, folder = tmp_path / "page.md", tmp_path / "home" / "studies" / "hm"
    monkeypatch.setenv("ATELIER_HOME", str(tmp_path / "home"))
    path.write_text(SUMMARY)
    console = Console(file=(tmp_path / "said").open("w"), width=200)
    with pytest.raises(InputError, match="has no report of hm: run python -m"):
        page.write([path], tmp_path / "home", console)
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(report()))
    assert page.main([str(path)]) == 0
    assert "| vbpr | 0.550" in path.read_text() and "older" not in path.read_text()
    assert page.main([str(tmp_path / "nothing.md")]) == 2


def test_the_documents_ask_for_tables_and_those_they_hold_have_todays_columns():
    asked = [found for name in page.DOCUMENTS for found in page.MARKED.finditer((ROOT / name).read_text())]
    shown = {page.Marker.parse(found["words"]).table for found in asked}
    assert shown >= {"ranking", "lists", "differences", "ablation", "by_week", "ageing"}
    titles = {measure.title for measure in MEASURES.values()}
    for found in asked:
        if page.Marker.parse(found["words"]).table in ("summary", "ranking", "lists"):
            head = found["content"].splitlines()[0].strip("| ").split(" | ")[1:]
            known = [name.removesuffix(" (95%)") in titles for name in head]
            assert all(known[:-1]), (found["words"], head)  # the last is validation or a difference
