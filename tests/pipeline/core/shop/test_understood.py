"""What shop.toml leaves open is recognised by names and values, said, and switched off by an empty value."""

from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.core.raw.ingest import ReviewsRead, read_products, read_reviews
from pipeline.core.raw.shop_tables import recognised
from pipeline.core.shop.mapping import Shop
from pipeline.inspection.causes import of_reading
from tests.pipeline.core.shop.tables import write

PRODUCTS = "ID,SKU,Name,Category,Image\n1,a,Shirt,Tops,https://x.example/a.jpg\n"
WITHOUT_ID = "SKU,Name,Category,Image\na,Shirt,Tops,https://x.example/a.jpg\n"


def shop_of(folder: Path, orders: str = "", toml: str | None = None, name: str = "o.csv") -> tuple[list[Path], Shop]:
    given = Shop.of(write(folder, "shop.toml", toml)) if toml is not None else None
    paths = [write(folder, name, orders)] if orders else []
    shop = recognised(paths, [write(folder, "p.csv", WITHOUT_ID if toml is None else PRODUCTS)], given)
    assert shop is not None
    return paths, shop


def reviews_of(folder: Path, orders: str, toml: str | None = '[products]\nid = "SKU"') -> tuple[ReviewsRead, Shop]:
    paths, shop = shop_of(folder, orders, toml)
    return read_reviews(paths, shop=shop), shop


def test_naming_the_id_alone_leaves_title_categories_and_pictures_recognised(tmp_path):
    _, shop = shop_of(tmp_path, toml='[products]\nid = "SKU"')
    (product,) = read_products([tmp_path / "p.csv"], shop=shop).products.to_pylist()
    assert (product["asin"], product["title"], product["categories"]) == ("a", "Shirt", ["Tops"])
    assert product["vendor_urls"] == ["https://x.example/a.jpg"]
    assert "title = Name, categories = Category, pictures = Image" in shop.understood[0]


def test_an_empty_value_switches_a_role_off_also_when_the_shop_is_written_and_read_again(tmp_path):
    off = '[products]\nid = "SKU"\ntitle = ""\ncategories = []\npictures = []\n[interactions]\ntime = ""'
    paths, shop = shop_of(tmp_path, "user,sku,time\nu,a,1400000000\n", off)
    again = recognised(paths, [tmp_path / "p.csv"], Shop.of(write(tmp_path, "shop.toml", shop.toml())))
    for one in (shop, again):
        (product,) = read_products([tmp_path / "p.csv"], shop=one).products.to_pylist()
        assert (product["title"], product["categories"], product["vendor_urls"]) == ("", [], [])
        assert read_reviews(paths, shop=one).reviews["time"].to_pylist() == [None]


def test_naming_user_and_item_leaves_time_and_rating_recognised(tmp_path):
    toml = '[interactions]\nuser = "email"\nitem = "what"\n[products]\nid = "SKU"'
    read, _ = reviews_of(tmp_path, "email,what,timestamp,stars\nu,a,1400000000,4\n", toml)
    assert (read.reviews["time"].to_pylist(), read.reviews["rating"].to_pylist()) == ([1_400_000_000], [4.0])


KINDS = "user,sku,event_type\n" + "u,a,View\nu,b,add_to_cart\nu,c,purchase\nu,d,Refund\n"


def test_purchases_count_and_views_and_returns_do_not_and_it_is_said(tmp_path):
    read, shop = reviews_of(tmp_path, KINDS)
    assert read.reviews["asin"].to_pylist() == ["c"]
    assert read.rejects["reason"].to_pylist() == ["kind_ignored", "kind_ignored", "kind_negative"]
    assert "'purchase' (1) count; 'Refund' (1), 'View' (1), 'add_to_cart' (1) are left out" in shop.understood[0]
    assert 'positive = ["purchase"]' in shop.toml()


def test_where_nothing_is_bought_views_count_and_it_is_said(tmp_path):
    read, shop = reviews_of(tmp_path, KINDS.replace("purchase", "click"))
    assert read.reviews["asin"].to_pylist() == ["a", "b", "c"]
    assert "count, because nothing is bought; 'Refund' (1) are left out" in shop.understood[0]


def test_the_kinds_of_all_files_are_sorted_together(tmp_path):
    views = write(tmp_path, "o1.csv", KINDS.replace("purchase", "click"))
    shop = recognised([views, write(tmp_path, "o2.csv", KINDS)], [write(tmp_path, "p.csv", WITHOUT_ID)])
    assert read_reviews([views, tmp_path / "o2.csv"], shop=shop).reviews["asin"].to_pylist() == ["c"]


def test_kinds_that_are_not_known_are_listed_with_the_mend(tmp_path):
    read, _ = reviews_of(tmp_path, KINDS.replace("View", "foo"))
    (warning,) = of_reading(read.counts, read.unread)
    assert warning.startswith("column event_type: these kinds are not known and are left out: 'foo' (1)")
    assert 'positive = ["purchase", "foo"]' in warning
    read, _ = reviews_of(tmp_path, "user,sku,event\nu,a,1\nu,b,4\nu,b,4\n")
    (warning,) = of_reading(read.counts, read.unread)
    assert "not known and count as purchases: '4' (2), '1' (1)" in warning and 'positive = ["4"]' in warning
    named = '[products]\nid = "SKU"\n[interactions]\npositive = ["4"]\nignored = ["1"]'
    read, _ = reviews_of(tmp_path, "user,sku,event\nu,a,1\nu,b,4\n", named)
    assert not of_reading(read.counts, read.unread) and read.reviews["asin"].to_pylist() == ["b"]


def test_kinds_without_a_column_of_kinds_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"positive names kinds .* no column is known to have them; name it: kind"):
        shop_of(tmp_path, "user,sku\nu,a\n", '[products]\nid = "SKU"\n[interactions]\npositive = ["buy"]')


def test_rows_that_were_given_back_are_counted_and_the_first_is_named(tmp_path):
    read, _ = reviews_of(tmp_path, "user,sku,quantity,status\nu,a,1,paid\nu,b,-1,Refunded\nu,c,0,shipped\n")
    quantities, states = of_reading(read.counts, read.unread)
    assert (
        quantities.startswith("2 rows have a quantity of zero or less") and "row 3, column quantity: '-1'" in quantities
    )
    assert 'kind = "status", negative = ["Refunded"]' in states and states.startswith("1 rows")


def test_dates_are_read_as_the_column_decides_and_it_is_said(tmp_path):
    read, shop = reviews_of(tmp_path, "user,sku,date\nu,a,01/02/2014\nu,b,13/05/2014\n")
    assert read.reviews["time"].to_pylist() == [1_391_212_800, 1_399_939_200]
    assert 'times read as time_unit = "%d/%m/%Y"' in shop.understood[0]


def test_the_first_time_and_rating_that_cannot_be_read_are_named_with_the_mend(tmp_path):
    read, _ = reviews_of(tmp_path, "user,sku,date,stars\nu,a,,5\nu,b,03/04/2014,\u2605\u2605\nu,c,03/05/2014,good\n")
    times, ratings = of_reading(read.counts, read.unread)
    assert times.startswith("2 times") and "o.csv: row 3, column date: '03/04/2014'" in times
    assert 'time_unit = "%d/%m/%Y" or time_unit = "%m/%d/%Y"' in times
    assert ratings.startswith("1 ratings") and "o.csv: row 4, column stars: 'good'" in ratings
