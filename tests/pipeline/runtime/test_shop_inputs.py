"""A run looks at a shop's tables before it begins, and what shop.toml says is part of the version of its inputs."""

import pytest

from pipeline.core.errors import InputError
from pipeline.home import environment
from pipeline.runtime.resources import RawSources
from tests.pipeline.core.shop.tables import write, zipped

ORDERS, ARTICLES = "wer,was\nu1,1\n", "sku,title\n1,Shirt\n"
SHOP = '[interactions]\nuser = "wer"\nitem = "was"\n'


def shop(folder, monkeypatch, orders=ORDERS, toml=SHOP) -> RawSources:
    for name in ("ATELIER_REVIEWS", "ATELIER_INTERACTIONS", "ATELIER_PRODUCTS", "ATELIER_SHOP"):
        monkeypatch.delenv(name, raising=False)
    files = [write(folder, "orders.csv", orders), write(folder, "articles.csv", ARTICLES)]
    named = str(write(folder, "shop.toml", toml)) if toml else ""
    return RawSources(reviews=str(files[0]), products=str(files[1]), shop=named)


def test_interactions_are_another_name_of_reviews_and_two_names_for_two_files_are_refused(monkeypatch):
    monkeypatch.delenv("ATELIER_REVIEWS", raising=False)
    monkeypatch.setenv("ATELIER_INTERACTIONS", "orders.csv")
    assert environment.reviews() == "orders.csv"
    monkeypatch.setenv("ATELIER_REVIEWS", "orders.csv")
    assert environment.reviews() == "orders.csv"
    monkeypatch.setenv("ATELIER_REVIEWS", "others.csv")
    with pytest.raises(InputError, match="name different files"):
        environment.reviews()


def test_what_is_wrong_with_the_files_is_said_before_a_run_begins(tmp_path, monkeypatch):
    said: list[str] = []
    assert shop(tmp_path, monkeypatch).check(said.append)
    with pytest.raises(InputError, match="no column is known as the user"):
        shop(tmp_path, monkeypatch, toml="").check(said.append)
    with pytest.raises(InputError, match=r"an Excel file \(xlsx\)"):
        shop(tmp_path, monkeypatch, orders=zipped(**{"xl/workbook.xml": "x"})).check(said.append)
    with pytest.raises(InputError, match=r"shop.toml:2: \[interactions\] usr: there is no such key"):
        shop(tmp_path, monkeypatch, toml=SHOP.replace("user", "usr")).check(said.append)


def test_another_shop_toml_makes_another_version_of_the_same_files(tmp_path, monkeypatch):
    raw = shop(tmp_path, monkeypatch)
    first, marks = raw.review_version(), raw.marks()
    assert (raw.review_version(), raw.marks()) == (first, marks)
    write(tmp_path, "shop.toml", SHOP + "width = 10\n")
    assert raw.review_version() != first
    assert raw.marks() != marks
    assert raw.legacy_digests(raw.marks()) != {}


def test_the_folders_of_shop_toml_are_among_those_that_pictures_are_read_from(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    raw = shop(tmp_path, monkeypatch, toml=SHOP + '[pictures]\nfolders = ["elsewhere"]\n')
    assert raw.picture_folders() == (str(tmp_path), str((tmp_path / "elsewhere").resolve()))
