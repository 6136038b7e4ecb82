"""A run looks at a shop's tables before it begins; what else decides the rows is part of the version of its inputs."""

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


@pytest.mark.parametrize("spec", ["{}", "{}/*.csv"])
def test_a_new_file_in_a_folder_or_of_a_glob_makes_another_version_and_is_read_next(tmp_path, spec):
    for kind, text in (("orders", ORDERS), ("articles", ARTICLES)):
        (tmp_path / kind).mkdir()
        write(tmp_path, f"{kind}/1.csv", text)
    raw = RawSources(reviews=spec.format(tmp_path / "orders"), products=spec.format(tmp_path / "articles"))

    def found() -> tuple[list, ...]:
        marks = raw.marks()
        versions = [raw.review_version(), raw.product_version(), marks["raw_reviews"], marks["raw_products"]]
        return versions, [path.name for path in (*raw.review_files(), *raw.product_files())]

    before, read = found()
    write(tmp_path, "orders/2.csv", ORDERS.replace("u1", "u2"))
    write(tmp_path, "articles/2.csv", ARTICLES.replace("Shirt", "Coat"))
    after, read_next = found()
    assert all(one != two for one, two in zip(before, after, strict=True))
    assert (read, read_next) == (["1.csv"] * 2, ["1.csv", "2.csv"] * 2)


def test_a_new_picture_of_a_pattern_makes_another_version_of_the_products_alone(tmp_path, monkeypatch):
    toml = f'{SHOP}[products]\nid = "sku"\n[pictures]\npattern = "p/{{sku}}_*.jpg"\n'
    raw = shop(tmp_path, monkeypatch, toml=toml)

    def found() -> tuple[str, str, dict]:
        return raw.review_version(), raw.product_version(), raw.marks()

    write(tmp_path, "p/1_a.jpg", "x")
    before = found()
    assert found() == before
    write(tmp_path, "p/notes.txt", "x")
    assert found() == before
    write(tmp_path, "p/1_b.jpg", "x")
    after = found()
    assert after[0] == before[0] and after[1] != before[1] and after[2]["raw_reviews"] == before[2]["raw_reviews"]
    assert after[2]["raw_products"] != before[2]["raw_products"]
    write(tmp_path, "articles.csv", "no table")  # a file that cannot be read is for the ingest to report
    assert raw.product_version() and raw.marks()


def test_a_hidden_file_beside_both_tables_is_warned_of_once(tmp_path, monkeypatch, caplog):
    said: list[str] = []
    raw = shop(tmp_path, monkeypatch)
    write(tmp_path, "._orders.csv", "x")
    write(tmp_path, ".articles.csv", "x")
    raw.check(said.append)
    assert [line.split(": ")[0] for line in said] == [f"{tmp_path}/._orders.csv", f"{tmp_path}/.articles.csv"]
    assert len(raw.review_files()) == len(raw.product_files()) == 1 and "passed over" not in caplog.text
