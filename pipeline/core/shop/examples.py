"""Show every known layout by a tiny invented shop, for docs/input-formats.md and its test.

The shop.toml of an example is what recognising its files gives, so it says what would have been understood without
it. JSON lines are recognised by their keys and need none; theirs is written out here, to show how keys are named.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.core.raw.shop_tables import recognised
from pipeline.core.shop.mapping import InteractionColumns, Shop

SECTION = "["  # how the line that opens a table of a shop.toml begins
COMMENT = "  # "  # between a key's value and its meaning


@dataclass(frozen=True)
class Example:
    """The files of a shop in one layout."""

    title: str
    about: str
    interactions: Mapping[str, str] = field(default_factory=dict)  # name of a file -> its text
    products: Mapping[str, str] = field(default_factory=dict)
    customers: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()  # folders of pictures beside the tables
    shop: Shop | None = None  # None: what is recognised

    def write(self, folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
        """Write the files into a folder; return the paths of interactions, products and customers."""
        for name in self.folders:
            (folder / name).mkdir(exist_ok=True)
        paths = []
        for files in (self.interactions, self.products, self.customers):
            paths.append([folder / name for name in files])
            for name, text in files.items():
                (folder / name).write_text(text)
        return paths[0], paths[1], paths[2]

    def toml(self, folder: Path) -> str:
        """Write the files into an empty folder; return the shop.toml for them, without comments and unset keys.

        Raises:
            InputError: the layout is not recognised.
        """
        interactions, products, customers = self.write(folder)
        shop = self.shop or recognised(interactions, products, customers=customers) or Shop()
        pictures = dataclasses.replace(shop.pictures, folders=tuple(map(Path, self.folders)))
        unset = set(Shop().toml().splitlines())
        lines = [
            line.partition(COMMENT)[0]
            for line in dataclasses.replace(shop, pictures=pictures).toml().splitlines()
            if line.startswith(SECTION) or not (line in unset or line.startswith("#"))
        ]
        kept = [
            line
            for line, after in zip(lines, [*lines[1:], SECTION], strict=True)
            if not line.startswith(SECTION) or not after.startswith(SECTION)
        ]
        return "\n".join(f"\n{line}" if line.startswith(SECTION) else line for line in kept) + "\n"


EXAMPLES = (
    Example(
        "Orders and products",
        "Most shops' own tables are of this kind: columns are recognised by their names, in any order.",
        {"orders.csv": "order_date;customer_id;product_id\n2024-03-01;C7;0041\n2024-03-02;C8;0042\n"},
        {
            "products.csv": "product_id,title,department,category,image_url\n"
            "0041,Striped shirt,Women,Tops,https://shop.example/0041.jpg\n"
            "0042,Chinos,Men,Trousers|Chinos,https://shop.example/0042.jpg\n"
        },
    ),
    Example(
        "H&M, as on Kaggle",
        "A colour (`article_id`) is bought, and counts for its product (`product_code`). Pictures are in `images/`.",
        {"transactions_train.csv": "t_dat,customer_id,article_id,price\n2024-03-01,a1,0000041001,0.02\n"},
        {
            "articles.csv": "article_id,product_code,prod_name,product_type_name,product_group_name,index_group_name\n"
            "0000041001,0000041,Striped shirt,Shirt,Garment Upper body,Ladieswear\n"
            "0000041002,0000041,Striped shirt,Shirt,Garment Upper body,Ladieswear\n"
        },
        {
            "customers.csv": "customer_id,FN,Active,club_member_status,fashion_news_frequency,age,postal_code\n"
            "a1,1,1,ACTIVE,Monthly,41,0a\n"
        },
        ("images",),
    ),
    Example(
        "Myntra, as on Kaggle",
        "Products alone; the generator is made of them. Pictures are in `images/`.",
        products={
            "styles.csv": "id,gender,masterCategory,subCategory,articleType,productDisplayName\n"
            "41,Men,Apparel,Topwear,Shirts,Striped shirt\n"
        },
        folders=("images",),
    ),
    Example(
        "RecBole's atomic files",
        "The header gives each column a type. Nothing is quoted.",
        {
            "shop.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
            "C7\t41\t5\t1709251200\nC8\t42\t4\t1709337600\n"
        },
        {"shop.item": "item_id:token\ttitle:token_seq\tcategories:token_seq\n41\tStriped shirt\tWomen Tops\n"},
    ),
    Example(
        "Amazon's ratings of 2014, without a header",
        "User, item, rating, time. The columns are called `1`, `2`, `3` and `4`.",
        {"ratings_Fashion.csv": "A1AAAAAAAAAAA1,B000000041,5.0,1394236800\nA1AAAAAAAAAAA2,B000000042,4.0,1394323200\n"},
    ),
    Example(
        "Amazon's ratings of 2018, without a header",
        "Item, user, rating, time: the item comes first if its column has Amazon's item ids.",
        {"Fashion.csv": "B000000041,A1AAAAAAAAAAA1,5.0,1520467200\nB000000042,A1AAAAAAAAAAA2,4.0,1520553600\n"},
    ),
    Example(
        "Amazon's ratings of 2023",
        "`parent_asin` is the item, also where `asin` names the variant bought. Times are milliseconds.",
        {"Fashion.csv": "user_id,parent_asin,asin,rating,timestamp\nAE1,B000000041,B000000043,5.0,1709251200123\n"},
    ),
    Example(
        "MovieLens, as CSV",
        "",
        {"ratings.csv": "userId,movieId,rating,timestamp\n7,41,4.5,1709251200\n8,42,3.0,1709337600\n"},
        {"movies.csv": "movieId,title,genres\n41,The shirt (1999),Comedy|Drama\n"},
    ),
    Example(
        "MovieLens, without a header",
        "`u.data` of MovieLens 100K: tabs between the values.",
        {"u.data": "7\t41\t4\t881250949\n8\t42\t3\t881250950\n"},
    ),
    Example(
        "Amazon's reviews of 2014 and 2018 as JSON lines",
        "These keys are recognised. A shop.toml that names your own keys makes JSON lines a table like any other.",
        {
            "reviews.jsonl": '{"reviewerID": "A1", "asin": "B1", "overall": 5.0, "unixReviewTime": 1520467200,'
            ' "image": ["https://shop.example/own.jpg"]}\n'
        },
        shop=Shop(
            "Amazon",
            InteractionColumns(
                user="reviewerID", item="asin", time="unixReviewTime", rating="overall", pictures="image"
            ),
        ),
    ),
    Example(
        "Amazon's reviews of 2023 as JSON lines",
        "The keys of 2023.",
        {
            "reviews.jsonl": '{"user_id": "AE1", "parent_asin": "B1", "asin": "B2", "rating": 5.0,'
            ' "timestamp": 1709251200123, "images": [{"small_image_url": "https://shop.example/own.jpg"}]}\n'
        },
        shop=Shop(
            "Amazon",
            InteractionColumns(
                user="user_id", item="parent_asin", time="timestamp", rating="rating", pictures="images"
            ),
        ),
    ),
)
