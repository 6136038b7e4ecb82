"""A folder with products and reviews is refused, with the files of each kind."""

from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.core.raw.mixed_kinds import kind_of
from pipeline.core.raw.shop_tables import recognised
from tests.pipeline.core.shop.tables import write

HM = {
    "articles.csv": "article_id,product_code,prod_name\n0108775015,0108775,Top\n",
    "customers.csv": "customer_id,club_member_status,age\nc1,ACTIVE,30\n",
    "transactions_train.csv": "t_dat,customer_id,article_id\n2018-09-20,c1,0108775015\n",
}
RECBOLE = {
    "x.inter": "user_id:token\titem_id:token\ttimestamp:float\nu1\ti1\t1400000000\n",
    "x.item": "item_id:token\ttitle:token_seq\ni1\tShirt\n",
}


@pytest.mark.parametrize(
    ("files", "reviews", "products", "neither"),
    [(HM, "transactions_train.csv", "articles.csv", "customers.csv"), (RECBOLE, "x.inter", "x.item", None)],
)
@pytest.mark.parametrize("kind", ["reviews", "products"])
def test_the_files_of_each_kind_are_named(tmp_path: Path, kind: str, files, reviews, products, neither):
    paths = [write(tmp_path, name, content) for name, content in files.items()]
    with pytest.raises(InputError) as refused:
        recognised(*((paths, paths[:1]) if kind == "reviews" else ([tmp_path / reviews], paths)))
    said = str(refused.value)
    assert f"mixed in what is named as the {kind}" in said and "--reviews (ATELIER_REVIEWS)" in said
    assert f"reviews: {tmp_path / reviews}" in said and f"products: {tmp_path / products}" in said
    assert neither is None or f"neither: {tmp_path / neither}" in said


def test_columns_of_both_kinds_are_of_either():
    assert kind_of(["user_id", "item_id", "rating", "title"]) == "either"
    assert kind_of(["nutzer", "item_id", "title", "rating"]) == "neither"


def test_days_of_one_kind_are_read_together(tmp_path: Path):
    days = [write(tmp_path, f"{n}.csv", "user_id,item_id,date,title\nu,i,2020-01-01,x\n") for n in range(2)]
    assert recognised(days, []) is not None
