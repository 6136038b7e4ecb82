"""`atelier inspect`: quick to load, the same figures for people and machines, and a page that holds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pipeline.cli.inspect import main
from pipeline.core.shop.mapping import Shop
from pipeline.runtime.exits import DONE, WRONG_CALL
from tests.pipeline.inspection.shops import PRODUCTS, REVIEWS, product, write

ROOT = Path(__file__).parents[3]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    reviews, products = write(tmp_path / "reviews.jsonl", REVIEWS), write(tmp_path / "products.jsonl", PRODUCTS)
    return ["--reviews", str(reviews), "--products", str(products)]


def test_the_command_loads_neither_dagster_nor_torch(files: list[str], tmp_path: Path):
    words = ["inspect", *files, "--html", str(tmp_path / "page.html")]
    work = f"import sys; from pipeline.cli.main import main; main({words!r})"
    done = subprocess.run(
        [sys.executable, "-c", f"{work}; print('MODULES', *sys.modules)"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    modules = set(done.stdout.split("MODULES")[1].split())
    assert "pipeline.inspection.facts" in modules
    assert modules & {"dagster", "torch", "mlflow", "torchvision"} == set()


def test_machines_get_the_promised_keys(files: list[str], capsys: pytest.CaptureFixture[str]):
    assert main([*files, "--json"]) == DONE
    found = json.loads(capsys.readouterr().out)
    assert (found["users"], found["items"], found["pairs"]) == (4, 6, 24)
    assert found["ids_meeting_share"] == found["picture_share"] == 1.0
    assert found["core"]["5"]["users"] == 4 and set(found["core"]) == {"2", "3", "5", "10"}
    assert set(found["layout"].values()) == {"2018"}
    assert found["warnings"] == [] and [file["kind"] for file in found["files"]] == ["reviews", "products"]
    assert {picture["outcome"] for picture in found["pictures"]} == {"not asked"}
    assert [one["stage"] for one in found["expected"]] == ["reviews, 5-core", "products", "fetch, one host", "bank"]


def test_people_are_shown_the_figures_and_the_warnings(files: list[str], tmp_path: Path, capsys):
    write(tmp_path / "products.jsonl", [product("x[red]", imageURL=[])])
    (tmp_path / "._products.jsonl").write_bytes(b"\0")
    assert main(files) == DONE
    said = " ".join(capsys.readouterr().out.split())
    assert "24 of 24 lines" in said and "none of the 6 reviewed ids is among the 1 products" in said
    assert "'x[red]'" in said and said.count("._products.jsonl: passed over: macOS") == 1


def test_a_sample_is_predicted_beside_the_cores_of_all_users(files: list[str], tmp_path: Path, capsys):
    label = "sample: 3 of 4 users (seed 2), k = 4"
    drawn = ["--min-interactions", "4", "--users", "3", "--seed", "2"]
    assert main([*files, *drawn, "--json"]) == DONE
    found = json.loads(capsys.readouterr().out)
    assert (found["sample"]["extent"], found["sample"]["users"], found["sample"]["interactions"]) == (label, 3, 18)
    assert found["core"]["4"]["users"] == 4
    assert main([*files, *drawn, "--html", str(tmp_path / "page.html")]) == DONE
    assert label in " ".join(capsys.readouterr().out.split()) and label in (tmp_path / "page.html").read_text()
    with pytest.raises(SystemExit):
        main([*files, "--users", "0"])
    assert "--users must be at least 1" in capsys.readouterr().err


def test_the_page_escapes_what_the_files_say(files: list[str], tmp_path: Path):
    evil = '"><script>alert(1)</script>'
    write(tmp_path / "products.jsonl", [product(f"{evil}{n}", title=evil) for n in range(6)])
    assert main([*files, "--html", str(tmp_path / "page.html")]) == DONE
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page


def test_a_shop_of_which_nothing_is_left_is_described_too(files: list[str], tmp_path: Path, capsys):
    write(tmp_path / "reviews.jsonl", REVIEWS[:3])
    assert main(files) == DONE
    assert "no user with 5 distinct items among 1 users and 3 reviews" in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def tables(tmp_path: Path) -> list[str]:
    """Give the arguments for a shop of two tables and a folder of pictures."""
    rows = [f"u{user},{item:04}" for user in range(4) for item in range(6)]
    (tmp_path / "orders.csv").write_text("\n".join(["user_id,item_id", *rows]))
    (tmp_path / "products.csv").write_text(
        "\n".join(["id,title,image", *(f"{item:04},Dress,images/{item}.png" for item in range(6))])
    )
    (tmp_path / "images").mkdir()
    for item in range(6):
        Image.new("RGB", (60, 60), (40 * item, 0, 0)).save(tmp_path / f"images/{item}.png")
    return ["--reviews", str(tmp_path / "orders.csv"), "--products", str(tmp_path / "products.csv")]


def test_pictures_in_files_are_expected_to_take_no_host_time(tables: list[str], capsys):
    assert main([*tables, "--json"]) == DONE
    stages = [one["stage"] for one in json.loads(capsys.readouterr().out)["expected"]]
    assert stages == ["reviews, 5-core", "products", "pictures from files", "bank"]


def test_what_was_understood_of_tables_is_written_to_edit(tables: list[str], tmp_path: Path, capsys):
    assert main([*tables, "--toml", str(tmp_path / "shop.toml")]) == DONE
    before = capsys.readouterr().out.splitlines()[-1]
    shop = Shop.of(tmp_path / "shop.toml")
    assert (shop.interactions.user, shop.interactions.item, shop.products.pictures) == (
        "user_id",
        "item_id",
        ("image",),
    )
    assert main([*tables, "--shop", str(tmp_path / "shop.toml")]) == DONE
    assert capsys.readouterr().out.splitlines()[-1] == before


def test_a_shop_toml_of_reviews_in_json_is_refused(files: list[str], tmp_path: Path, capsys):
    assert main([*files, "--toml", str(tmp_path / "shop.toml")]) == WRONG_CALL
    assert "no file is a table" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "shop.toml").exists()


def test_a_missing_file_is_a_wrong_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--products", str(tmp_path / "none.jsonl")]) == WRONG_CALL
    assert "none.jsonl: no such file" in " ".join(capsys.readouterr().err.split())


def test_a_url_is_not_fetched_without_leave(capsys: pytest.CaptureFixture[str]):
    assert main(["--products", "http://127.0.0.1:9/products.jsonl"]) == WRONG_CALL
    assert "is on a server; --ask fetches it" in " ".join(capsys.readouterr().err.split())


def test_nothing_is_written_beside_the_page(files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ATELIER_HOME", str(tmp_path / "home"))
    before = sorted(tmp_path.rglob("*"))
    assert main(files) == DONE
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("option", ["--html", "--toml"])
def test_a_place_that_cannot_be_written_is_named_before_any_work(
    tables: list[str], tmp_path: Path, capsys, option: str
):
    for target, mend in (("no/such/x", "there is no folder"), (".", "is a folder; name a file in it")):
        assert main([*tables, option, str(tmp_path / target)]) == WRONG_CALL
        said = " ".join(capsys.readouterr().err.split())
        assert f"{option}: {tmp_path}" in said and mend in said and "home" not in said


def test_a_shop_toml_that_a_person_edited_is_not_replaced(tables: list[str], tmp_path: Path, capsys):
    path = tmp_path / "shop.toml"
    assert main([*tables, "--toml", str(path)]) == main([*tables, "--toml", str(path)]) == DONE
    edited = path.read_text().replace('layout = "', 'layout = "my ')
    path.write_text(edited)
    capsys.readouterr()
    assert main([*tables, "--toml", str(path)]) == WRONG_CALL
    assert "changed by hand" in " ".join(capsys.readouterr().err.split()) and path.read_text() == edited
