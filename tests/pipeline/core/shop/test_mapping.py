"""A shop.toml says what a shop's columns mean; what it says wrongly is refused with its line."""

from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.core.shop.mapping import InteractionColumns, PictureFiles, ProductColumns, Shop

SHOP = """\
layout = "mine"
[interactions]
user = "customer"
item = "article"
time = "day"
time_unit = "%d.%m.%Y"
width = 10
positive = ["purchase"]
[products]
id = "code"
categories = ["group", "type"]
pictures = "photo"
[pictures]
pattern = "images/{id:.3}/{id}.jpg"
folders = ["images"]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "shop.toml"
    path.write_text(text)
    return path


def test_a_shop_is_read_with_its_folders_beside_it(tmp_path):
    (tmp_path / "images").mkdir()
    shop = Shop.of(written(tmp_path, SHOP))
    assert shop.layout == "mine"
    assert shop.interactions == InteractionColumns(
        user="customer", item="article", time="day", time_unit="%d.%m.%Y", width=10, positive=("purchase",)
    )
    assert shop.products == ProductColumns(id="code", categories=("group", "type"), pictures=("photo",))
    assert shop.pictures == PictureFiles("images/{id:.3}/{id}.jpg", (str((tmp_path / "images").resolve()),))


def test_what_is_written_reads_the_same(tmp_path):
    (tmp_path / "images").mkdir()
    shop = Shop.of(written(tmp_path, SHOP))
    again = Shop.of(written(tmp_path, shop.toml()))
    assert again == shop
    assert again.digest == shop.digest
    assert Shop.of(written(tmp_path, Shop().toml())) == Shop()


def test_another_column_is_another_digest(tmp_path):
    (tmp_path / "images").mkdir()
    first = Shop.of(written(tmp_path, SHOP)).digest
    assert Shop.of(written(tmp_path, SHOP.replace('"day"', '"date"'))).digest != first


@pytest.mark.parametrize(
    ("line", "instead", "named"),
    [
        (
            'user = "customer"',
            'usr = "customer"',
            "shop.toml:3: [interactions] usr: there is no such key",
        ),
        ("width = 10", 'width = "10"', "shop.toml:7: [interactions] width: is '10'; give a whole number"),
        ("width = 10", "width = 0", "shop.toml:7: [interactions] width: give a number of digits"),
        ('positive = ["purchase"]', "positive = [1]", "shop.toml:8: [interactions] positive: give a list of texts"),
        (
            'time_unit = "%d.%m.%Y"',
            'time_unit = "minutes"',
            "shop.toml:6: [interactions] time_unit: give one",
        ),
        ('user = "customer"', 'delimiter = "::"', "shop.toml:3: [interactions] delimiter: give one character"),
        ('user = "customer"', 'encoding = "cp9999"', "shop.toml:3: [interactions] encoding: Python knows no such"),
        ('user = "customer"', 'zone = "Mars"', "shop.toml:3: [interactions] zone: there is no such time zone"),
        ('folders = ["images"]', 'folders = ["photos"]', "shop.toml:15: [pictures] folders:"),
        ("[pictures]", "[photos]", "shop.toml:13: photos: there is no such key"),
        ('layout = "mine"', "layout = mine", "is not TOML"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_the_mend(tmp_path, line, instead, named):
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError) as told:
        Shop.of(written(tmp_path, SHOP.replace(line, instead)))
    assert named in str(told.value)
