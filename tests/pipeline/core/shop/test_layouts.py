"""Known layouts are recognised by their columns, and what could mean two things is asked about by name."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pipeline.core.dataset.kcore import five_core
from pipeline.core.erasure import Erasures
from pipeline.core.errors import InputError
from pipeline.core.raw.ingest import ReadContext, read_products, read_reviews
from pipeline.core.raw.shop_tables import described, recognised
from pipeline.core.shop.mapping import InteractionColumns, PictureFiles, Shop
from pipeline.core.shop.picture_files import PicturePattern
from tests.pipeline.core.shop.tables import write

DATASETS = Path(__file__).parents[4] / "../shared/datasets"

ARTICLES = """\
article_id,product_code,prod_name,product_type_name,product_group_name,index_group_name
0108775015,0108775,Strap top,Vest top,Garment Upper body,Ladieswear
0108775044,0108775,Strap top,Vest top,Garment Upper body,Ladieswear
0110065001,0110065,Bra,Bra,Underwear,Ladieswear
"""
# A spreadsheet took the zeros of the bought articles.
TRANSACTIONS = """\
t_dat,customer_id,article_id,price,sales_channel_id
2018-09-20,c1,108775015,0.0508,2
2018-09-21,c1,108775044,0.0508,2
2018-09-22,c2,999999999,0.0508,2
"""


def hm(folder: Path) -> tuple[Path, Path]:
    (folder / "images").mkdir()
    return write(folder, "transactions_train.csv", TRANSACTIONS), write(folder, "articles.csv", ARTICLES)


def test_hm_as_kaggle_ships_it_is_recognised_with_its_pictures_and_variants_become_products(tmp_path):
    orders, articles = hm(tmp_path)
    shop = recognised([orders], [articles])
    assert shop is not None
    assert shop.layout == "H&M (Kaggle)"
    assert "transactions_train.csv: CSV table; H&M (Kaggle): user = customer_id" in described(shop)
    read = read_reviews([orders], shop=shop)
    assert read.reviews["asin"].to_pylist() == ["0108775", "0108775", "0999999999"]
    assert read.counts["variants_unknown"] == 1
    first, second = read_products([articles], shop=shop).products.to_pylist()
    assert (first["asin"], first["title"]) == ("0108775", "Strap top")
    assert first["categories"] == ["Ladieswear", "Garment Upper body", "Vest top"]
    base = f"file://{tmp_path}/images"
    assert first["vendor_urls_high"] == [f"{base}/010/0108775015.jpg", f"{base}/010/0108775044.jpg"]
    assert first["vendor_urls"] == first["vendor_urls_high"]
    assert second["vendor_urls_high"] == [f"{base}/011/0110065001.jpg"]


@pytest.mark.parametrize("named", ["elsewhere", "elsewhere/images"])
def test_a_known_layout_looks_for_pictures_in_the_folder_that_shop_toml_names(tmp_path, named):
    orders, articles = hm(tmp_path)
    (tmp_path / "elsewhere" / "images").mkdir(parents=True)
    given = Shop.of(write(tmp_path, "shop.toml", f'[pictures]\nfolders = ["{named}"]\n'))
    shop = recognised([orders], [articles], given)
    assert shop is not None and str(tmp_path / named) in shop.pictures.folders
    read = read_products([articles], shop=Shop.of(write(tmp_path, "again.toml", shop.toml()))).products.to_pylist()
    assert read[1]["vendor_urls"] == [f"file://{tmp_path}/elsewhere/images/011/0110065001.jpg"]


def test_a_picture_that_a_column_and_the_pattern_name_is_listed_once(tmp_path):
    products = write(tmp_path, "p.csv", "item_id,title,image\n1,Shirt,images/1.jpg\n")
    shop = Shop.of(write(tmp_path, "shop.toml", '[pictures]\npattern = "images/{item_id}.jpg"\n'))
    row = read_products([products], shop=recognised([], [products], shop)).products.to_pylist()[0]
    assert row["vendor_urls"] == row["vendor_urls_high"] == [f"file://{tmp_path}/images/1.jpg"]


def test_folders_without_a_pattern_are_kept_when_a_table_is_recognised(tmp_path):
    products = write(tmp_path, "p.csv", "item_id,title,image\n1,Shirt,1.jpg\n")
    given = Shop.of(write(tmp_path, "shop.toml", '[pictures]\nfolders = ["."]\n'))
    shop = recognised([], [products], given)
    assert shop is not None and shop.pictures == PictureFiles(folders=(str(tmp_path),))
    assert f'folders = ["{tmp_path}"]' in shop.toml()


def test_what_was_recognised_reads_the_same_from_its_shop_toml(tmp_path):
    orders, articles = hm(tmp_path)
    shop = recognised([orders], [articles])
    assert shop is not None
    again = recognised([orders], [articles], Shop.of(write(tmp_path, "shop.toml", shop.toml())))
    assert again == shop
    assert read_reviews([orders], shop=again).reviews == read_reviews([orders], shop=shop).reviews


def test_an_erased_product_takes_the_purchases_of_its_variants_with_it(tmp_path):
    orders, articles = hm(tmp_path)
    erased = Erasures.none().with_more("asin", "0108775", [])
    context = ReadContext(erased=erased)
    read = read_reviews([orders], read_context=context, shop=recognised([orders], [articles]))
    assert read.reviews["asin"].to_pylist() == ["0999999999"]
    assert (read.erased, read.accepted, read.lines) == (2, 3, 3)


def test_myntras_styles_are_recognised(tmp_path):
    (tmp_path / "images").mkdir()
    names = "id,gender,masterCategory,subCategory,articleType,productDisplayName"
    styles = f"{names}\n15970,Men,Apparel,Topwear,Shirts,A shirt\n"
    path = write(tmp_path, "styles.csv", styles)
    (row,) = read_products([path], shop=recognised([], [path])).products.to_pylist()
    assert row["categories"] == ["Men", "Apparel", "Topwear", "Shirts"]
    assert row["vendor_urls"] == [f"file://{tmp_path}/images/15970.jpg"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("ratings.csv", "A1,B1,5.0,1400000000\n", ("A1", "B1", 5.0, 1400000000)),
        ("r_2018.csv", "B00AAAAAA1,A1ZZZZZZZZZ,5,1400000000\n", ("A1ZZZZZZZZZ", "B00AAAAAA1", 5.0, 1400000000)),
        ("u.data", "196\t242\t3\t881250949\n", ("196", "242", 3.0, 881250949)),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n", ("1", "31", 2.5, 1260759144)),
        ("x.inter", "user_id:token\titem_id:token\trating:float\n1\t\"b\t4\n", ("1", '"b', 4.0, None)),
        ("amazon.csv", "user_id,parent_asin,asin,timestamp\nAE1,B1,x,1400000000123\n", ("AE1", "B1", None, 1400000000)),
        ("shop.csv", "User ID;Item ID;Rating;Date\nu;007;4,5;2020-01-02\n", ("u", "007", 4.5, 1577923200)),
        ("excel.csv", "sep=;\r\nuser;item\r\na;1\r\n", ("a", "1", None, None)),
        ("blank.csv", "\n \n\nuser,item\na,1\n", ("a", "1", None, None)),
        ("trailing.csv", "user,item\na,1,\n", ("a", "1", None, None)),
        ("quoted.csv", '"user","item","rating"\n"a","1","4,5"\n', ("a", "1", 4.5, None)),
        ("escape.csv", "user,item,\x1b[31mx\na,1,2\n", ("a", "1", None, None)),
        ("pairs.csv", "U1,B1\n", ("U1", "B1", None, None)),
        ("pandas.csv", ",user,item\n0,12.0,108775015.0\n", ("12", "108775015", None, None)),
    ],
)  # fmt: skip
def test_tables_of_interactions_are_recognised(tmp_path, name, content, expected):
    (row,) = read_reviews([write(tmp_path, name, content)]).reviews.to_pylist()
    assert (row["reviewer_id"], row["asin"], row["rating"], row["time"]) == expected


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("user_id,customer_id,item\na,b,c\n", r'the user: user_id or customer_id\?.*\[interactions\] user = "user_id"'),
        ("user,item,order_date,created_at\na,b,1,2\n", "which column is the time: order_date or created_at"),
        ("wer,was\na,b\n", r"no column is known as the user; .* has the columns wer, was\. Name it in shop.toml"),
        ("1,2,3,4,5\n", "has no names of columns, and its 5 columns are not"),
    ],
)  # fmt: skip
def test_what_is_ambiguous_is_asked_about_by_name(tmp_path, content, named):
    with pytest.raises(InputError, match=named):
        read_reviews([write(tmp_path, "orders.csv", content)])


def test_of_two_ids_of_products_that_of_the_orders_is_meant(tmp_path):
    orders = write(tmp_path, "orders.csv", "user,sku\na,b\n")
    products = write(tmp_path, "products.csv", "product_id,sku,title\n1,b,Shirt\n")
    with pytest.raises(InputError, match="which column is the id: product_id or sku"):
        read_products([products])
    shop = recognised([orders], [products])
    assert read_products([products], shop=shop).products["asin"].to_pylist() == ["b"]


def test_a_shop_toml_overrules_and_a_column_that_is_not_there_is_named(tmp_path):
    orders = write(
        tmp_path, "orders.csv", "wer;was;wann;art\nu1;7;03.02.2020;kauf\nu2;8;04.02.2020;retoure\nu3;9;x;blick\n"
    )
    columns = {"user": "Wer", "item": "was", "time": "wann", "time_unit": "%d.%m.%Y", "width": 4, "kind": "art"}
    shop = Shop(interactions=InteractionColumns(**columns, positive=("kauf",), negative=("retoure",)))
    read = read_reviews([orders], shop=shop)
    assert [tuple(row.values())[:4] for row in read.reviews.to_pylist()] == [("u1", "0007", None, 1580688000)]
    assert [(r["line"], r["reason"]) for r in read.rejects.to_pylist()] == [(3, "kind_negative"), (4, "kind_unknown")]
    assert read.counts["times_not_read"] == 1
    with pytest.raises(InputError, match=r'\[interactions\] user = "customer".*it has wer, was, wann, art'):
        read_reviews([orders], shop=Shop(interactions=InteractionColumns(user="customer", item="was")))


def test_columns_of_products_by_many_names(tmp_path):
    header = "sku,name,category,sub_category,image_link,price,price"
    rows = f"{header}\n1,<b>Shirt</b>,Men|Tops,\"['Shirts', 'Slim']\",\"['http://x.example/1.jpg']\",3,4\n"
    (row,) = read_products([write(tmp_path, "feed.csv", rows)]).products.to_pylist()
    assert (row["asin"], row["title"], row["categories"]) == ("1", "Shirt", ["Men", "Tops", "Shirts", "Slim"])
    assert row["vendor_urls"] == ["http://x.example/1.jpg"]


def test_a_kept_part_is_read_again_when_shop_toml_says_something_else(tmp_path):
    orders = write(tmp_path, "orders.csv", "user,item,other\nu,1,2\n")
    context = ReadContext(parts=tmp_path / "parts")
    for item in ("item", "other", "item"):
        shop = Shop(interactions=InteractionColumns(user="user", item=item))
        first = read_reviews([orders], read_context=context, shop=shop)
        again = read_reviews([orders], read_context=context, shop=shop)
        assert again.reviews["asin"].to_pylist() == [{"item": "1", "other": "2"}[item]]
        assert (first.files_known, again.files_known) == (0, 1)


def test_rows_repeated_in_another_file_count_once(tmp_path):
    rows = "user,item\na,1\na,1\nb,2\n"
    paths = [write(tmp_path, "a.csv", rows), write(tmp_path, "b.csv", rows + "c,3\n")]
    read = read_reviews(paths)
    assert read.reviews["reviewer_id"].to_pylist() == ["a", "a", "b", "c"]
    assert read.counts["repeated_across_files"] == 3
    assert len(set(read.reviews["review_id"].to_pylist())) == 4


def test_json_and_tables_are_read_together(tmp_path):
    line = {"overall": 4.0, "reviewerID": "A1", "asin": "B1", "unixReviewTime": 1400000000}
    paths = [write(tmp_path, "a.jsonl", json.dumps(line)), write(tmp_path, "b.csv", "user,item\na,1\n")]
    assert read_reviews(paths).reviews["asin"].to_pylist() == ["B1", "1"]


def test_json_with_keys_of_its_own_is_read_by_a_shop_toml(tmp_path):
    lines = [
        {"wer": "u1", "was": {"nr": 7}, "artikel": 7, "wann": "2020-02-03", "bilder": ["http://x.example/1.jpg"]},
        {"wer": "u2", "artikel": 8, "wann": None, "mehr": 1},
        {"artikel": 9},
        [1],
    ]
    path = write(tmp_path, "orders.jsonl", "\n".join([*map(json.dumps, lines), "", "no json", ""]))
    with pytest.raises(InputError, match="not a known shape of reviews"):
        read_reviews([path])
    toml = '[interactions]\nuser = "wer"\nitem = "artikel"\ntime = "wann"\npictures = "bilder"\n'
    shop = recognised([path], [], Shop.of(write(tmp_path, "shop.toml", toml)))
    read = read_reviews([path], shop=shop)
    assert read.reviews.select(["reviewer_id", "asin", "time", "image_urls"]).to_pylist() == [
        {"reviewer_id": "u1", "asin": "7", "time": 1580688000, "image_urls": ["http://x.example/1.jpg"]},
        {"reviewer_id": "u2", "asin": "8", "time": None, "image_urls": []},
    ]
    rejects = [(row["line"], row["reason"]) for row in read.rejects.to_pylist()]
    assert rejects == [(3, "reviewer_missing"), (4, "not_an_object"), (6, "not_json")]
    assert read.lines == 5


def test_of_several_files_each_is_recognised_by_its_own_columns(tmp_path):
    paths = [
        write(tmp_path, "a.csv", "user,item\na,1\n"),
        write(tmp_path, "b.csv", "customer_id;product_id;date\nb;2;2020-01-02\n"),
    ]
    read = read_reviews(paths, shop=recognised(paths, []))
    assert read.reviews["asin"].to_pylist() == ["1", "2"]
    assert read.reviews["time"].to_pylist() == [None, 1577923200]


def names(folder: Path, pattern: str, **row: str) -> tuple[list[str], Counter[str]]:
    counts, refused = Counter[str](), list[str]()
    urls = PicturePattern(PictureFiles(pattern), folder, list(row)).urls(row, counts, refused)
    assert [f"pictures_{kind}" for kind in refused] == [name for name in counts if name != "pictures_without_value"]
    return [url.removeprefix(f"file://{folder}/") for url in urls], counts


def test_patterns_of_pictures_are_filled_from_the_row_and_never_leave_the_folder(tmp_path):
    for name in ("7_a.jpg", "7_b.jpg", "70_a.jpg", "8_a.jpg"):
        write(tmp_path, f"p/{name}", "x")
    assert names(tmp_path, "p/{id:.2}/{id:2.4}/{id}.jpg", id="123456")[0] == ["p/12/34/123456.jpg"]
    assert names(tmp_path, "p/{id}_*.jpg", id="7")[0] == ["p/7_a.jpg", "p/7_b.jpg"]
    assert names(tmp_path, "p/{id}_*.jpg", id="9") == ([], Counter(pictures_no_file=1))
    assert names(tmp_path, "p/{id}_*.jpg", id="*")[0] == []
    assert names(tmp_path, "{id} #1.jpg", id="ä?")[0] == ["%C3%A4%3F%20%231.jpg"]
    assert names(tmp_path, "p/{id}.jpg", id="../../etc/passwd") == ([], Counter(pictures_name_refused=1))
    assert names(tmp_path, "p/{id}.jpg", id="") == ([], Counter(pictures_without_value=1))
    for pattern in ("p/{other}.jpg", "p/{id.__class__}.jpg", "p/{id!r}.jpg", "{}.jpg", "*/{id}.jpg", "../{id}.jpg"):
        with pytest.raises(InputError, match=r"shop.toml: \[pictures\] pattern"):
            names(tmp_path, pattern, id="7")


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory):
    if not (DATASETS / "as_files.py").is_file():
        pytest.skip("../shared/datasets is absent")
    folder = tmp_path_factory.mktemp("shops")
    for name in ("hm", "recbole"):
        subprocess.run(
            [sys.executable, DATASETS / "as_files.py", "--to", folder / name, name], check=True, cwd=DATASETS
        )
    return folder


def named(core) -> list[tuple[str, str, int]]:
    """The interactions with the names of users and items."""
    users, items = core.users["reviewer_id"].to_pylist(), core.items["asin"].to_pylist()
    rows = core.interactions.to_pylist()
    return [(users[row["user"]], items[row["item"]], row["time"]) for row in rows]


def test_the_tables_of_hm_and_recbole_have_the_interactions_of_the_json_row_for_row(laid_out):
    expected = five_core(read_reviews([DATASETS / "hm/reviews.jsonl.gz"]).reviews_file)
    folder = laid_out / "hm"
    shop = recognised([folder / "transactions_train.csv"], [folder / "articles.csv"])
    of_tables = five_core(read_reviews([folder / "transactions_train.csv"], shop=shop).reviews_file)
    counts = of_tables.counts
    assert (counts["five_core_users"], counts["five_core_items"], counts["interactions"]) == (559, 7041, 14177)
    assert named(of_tables) == named(expected)
    assert named(five_core(read_reviews([laid_out / "recbole/hm.inter"]).reviews_file)) == named(expected)
    products = read_products([folder / "articles.csv"], shop=shop).products
    of_json = read_products([DATASETS / "hm/products.jsonl.gz"]).products
    ids = of_json["asin"].to_pylist()
    titles = dict(zip(ids, of_json["title"].to_pylist(), strict=True))
    assert {row["asin"]: row["title"] for row in products.to_pylist()} == {
        asin: titles[asin] for asin in products["asin"].to_pylist()
    }
    recbole = read_products([laid_out / "recbole/hm.item"]).products
    assert recbole["asin"].to_pylist() == ids
