"""Recognise by its columns what a table means: H&M and Myntra as on Kaggle, RecBole, Amazon's, MovieLens, others.

Only what can mean one thing is recognised; what is ambiguous is asked about by name. shop.toml overrules all of it.
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pipeline.core.errors import InputError
from pipeline.core.quoting import printable
from pipeline.core.raw.dialects import plain
from pipeline.core.shop import attributes
from pipeline.core.shop.mapping import ROLES, CustomerColumns, InteractionColumns, PictureFiles, ProductColumns
from pipeline.core.stored_address import is_stored

GIVEN = "shop.toml"  # the layout's name if shop.toml names the columns
AnyColumns = InteractionColumns | ProductColumns | CustomerColumns
Columns = TypeVar("Columns", bound=AnyColumns)

USER = (
    *("user_id", "user", "customer_id", "customer", "reviewer_id", "reviewer", "uid", "visitor_id", "client_id"),
    *("member_id", "buyer_id", "account_id", "shopper_id", "person_id", "user_name", "username", "kunde", "kunden_id"),
)
ITEM = (
    *("item_id", "item", "product_id", "product", "article_id", "article", "asin", "sku", "movie_id", "book_id"),
    *("style_id", "stock_code", "clothing_id", "isbn", "iid", "pid", "product_code", "item_code", "artikel"),
)
TIME = (
    *("timestamp", "time", "date", "datetime", "t_dat", "unix_review_time", "review_time", "order_date", "ordered_at"),
    *("order_time", "purchase_date", "purchased_at", "created_at", "event_time", "event_date", "invoice_date", "ts"),
    *("unix_timestamp", "review_date", "transaction_date", "rated_at", "order_purchase_timestamp", "datum"),
)
RATING = ("rating", "overall", "stars", "score", "star_rating", "review_score", "ratings", "bewertung")
KIND = (
    *("event", "event_type", "event_name", "kind", "interaction", "interaction_type", "behavior", "behaviour"),
    *("behavior_type", "action", "transaction_type"),
)
PHOTOS = ("image", "images", "image_url", "image_urls", "photos", "photo")
PRODUCT = ("id", "item_id", "item", "product_id", "article_id", "asin", "sku", "movie_id", "book_id", "style_id",
           "stock_code", "clothing_id", "isbn", "product_code", "item_code", "iid", "pid", "handle")  # fmt: skip
TITLE = ("title", "name", "product_name", "prod_name", "product_display_name", "product_title", "item_name", "titel",
         "display_name", "item_title")  # fmt: skip
# From the widest to the narrowest; a table uses all that it has.
CATEGORIES = (
    *("department", "index_group_name", "gender", "master_category", "main_category", "category_path", "categories"),
    *("genres", "category", "category_name", "product_category", "product_group_name", "class", "subcategory"),
    *("sub_category", "product_type", "product_type_name", "article_type"),
)
PICTURES = (
    *("image_url_high_res", "image", "images", "image_url", "image_urls", "image_link", "image_path", "img", "img_url"),
    *("picture", "pictures", "picture_url", "photo", "photos", "photo_url", "image_src", "additional_image_link"),
)
# If both columns are there, the second has the role: the first is a part or a repetition of it.
RATHER = {
    *(("asin", "parentasin"), ("reviewtime", "unixreviewtime"), ("username", "userid"), ("image", "imageurl")),
    *((name, f"{name}id") for name in ("user", "item", "product", "article", "customer", "reviewer")),
}
KNOWN = frozenset(
    plain(name)
    for names in (USER, ITEM, TIME, RATING, KIND, PHOTOS, PRODUCT, TITLE, CATEGORIES, PICTURES)
    for name in names
) | {"parentasin"}
_ASIN = re.compile(r"^(B[0-9A-Z]{9}|\d{9}[\dX])$")
_REVIEWER = re.compile(r"^A[0-9A-Z]{9,}$")


class NoColumnError(InputError):
    """A column that is needed, or that shop.toml names, is not among a table's columns."""


def interactions_of(
    names: Sequence[str], sample: Sequence[Sequence[str]], path: Path | str, given: InteractionColumns | None = None
) -> tuple[str, InteractionColumns]:
    """Recognise the columns of a table of interactions.

    Args:
        names: of the columns.
        sample: the values of some rows, one list per row.
        path: the file, for messages.
        given: the columns that shop.toml names; they take precedence.

    Returns:
        The name of the layout, and its columns.

    Raises:
        InputError: user or item are not found, or a role has several candidates; or shop.toml names a column that is
            not there.
    """
    given = resolved(given or InteractionColumns(), names, path, "interactions")
    by_name = {plain(name): name for name in names}
    named = bool(given.user and given.item)
    _check_kinds(given, names, path)
    if {"tdat", "customerid", "articleid"} <= by_name.keys():
        article, customer = by_name["articleid"], by_name["customerid"]
        return "H&M (Kaggle)", _with(
            InteractionColumns(user=customer, item=article, time=by_name["tdat"], width=10), given
        )
    if all(name.isdigit() for name in names):
        if named and {given.user, given.item} != set(names[:2]):
            return GIVEN, given
        try:
            found = _with(_by_position(names, sample, path), given)
        except InputError:
            if named:
                return GIVEN, given
            raise
        return GIVEN if named else "ratings without a header", found
    roles = _Roles("interactions", names, path, given)
    found = InteractionColumns(
        user=roles.needed("user", USER),
        item=roles.needed("item", (*ITEM, "parent_asin")),
        time=roles.one("time", TIME),
        rating=roles.one("rating", RATING),
        pictures=roles.one("pictures", PHOTOS),
        kind=roles.one("kind", KIND),
    )
    return GIVEN if named else "columns by their names", _with(found, given)


def products_of(
    names: Sequence[str],
    path: Path | str,
    given: ProductColumns | None = None,
    wanted: str | None = None,
    folder: Path | None = None,
    folders: Sequence[str] = (),
) -> tuple[str, ProductColumns, PictureFiles]:
    """Recognise the columns of a table of products, and where pictures are beside it.

    `wanted` is the name of the interactions' column of items: of several candidates, the one of that name is the id.
    `folder` is where pictures lie beside the table; that of `path` by default. In the folders that shop.toml names
    (`folders`), a known layout has its pattern too. Other arguments and errors are those of
    `interactions_of`.
    """
    given = resolved(given or ProductColumns(), names, path, "products")
    by_name = {plain(name): name for name in names}
    if {"articleid", "productcode", "prodname"} <= by_name.keys():
        article = by_name["articleid"]
        found = ProductColumns(
            id=by_name["productcode"],
            variant=article,
            title=by_name["prodname"],
            categories=_present(("index_group_name", "product_group_name", "product_type_name"), by_name),
            price=attributes.price_of(by_name),
            attributes=attributes.named(attributes.HM_PRODUCTS, by_name),
            width=7,
            variant_width=10,
        )
        pattern = f"images/{{{article}:.3}}/{{{article}}}.jpg"
        return "H&M (Kaggle)", _with(found, given), _beside(folder or Path(path).parent, pattern, folders)
    if {"id", "productdisplayname"} <= by_name.keys():
        found = ProductColumns(
            id=by_name["id"],
            title=by_name["productdisplayname"],
            categories=_present(("gender", "master_category", "sub_category", "article_type"), by_name),
            pictures=_present(PICTURES, by_name),
            price=attributes.price_of(by_name),
            attributes=attributes.named(attributes.MYNTRA_PRODUCTS, by_name),
        )
        return (
            "Myntra (Kaggle)",
            _with(found, given),
            _beside(folder or Path(path).parent, f"images/{{{found.id}}}.jpg", folders),
        )
    if all(name.isdigit() for name in names):
        if given.id:
            return GIVEN, given, PictureFiles(folders=tuple(folders))
        raise InputError(
            f'{path}: has no names of columns; say in shop.toml which is which: [products] id = "1", title = "2"'
        )
    roles = _Roles("products", names, path, given)
    found = ProductColumns(
        id=roles.needed("id", (*PRODUCT, "parent_asin"), wanted),
        title=roles.one("title", TITLE),
        categories=_present(CATEGORIES, by_name),
        pictures=_present(PICTURES, by_name),
        price=attributes.price_of(by_name),
        attributes=attributes.named(attributes.PRODUCTS, by_name),
    )
    return GIVEN if given.id else "columns by their names", _with(found, given), PictureFiles(folders=tuple(folders))


def _check_kinds(given: InteractionColumns, names: Sequence[str], path: Path | str) -> None:
    """Refuse kinds that are sorted without a column that has them."""
    if not given.positive and not given.negative and not given.ignored:
        return
    if "kind" in given.off or not (given.kind or any(plain(name) in map(plain, KIND) for name in names)):
        key = next(key for key in ("positive", "negative", "ignored") if getattr(given, key))
        raise InputError(
            f"{path}: shop.toml: [interactions] {key} names kinds of interactions, but no column is known to have"
            f' them; name it: kind = "..." (there are {printable(", ".join(names), 500)})'
        )


def customers_of(
    names: Sequence[str], path: Path | str, given: CustomerColumns | None = None, wanted: str | None = None
) -> tuple[str, CustomerColumns]:
    """Recognise the columns of a table of customers. Arguments and errors are those of `products_of`.

    Only H&M's attributes are recognised: what a shop keeps of its customers, it names in its shop.toml.
    """
    given = resolved(given or CustomerColumns(), names, path, "customers")
    by_name = {plain(name): name for name in names}
    if {"customerid", "clubmemberstatus"} <= by_name.keys():
        named = attributes.named(attributes.HM_CUSTOMERS, by_name)
        return "H&M (Kaggle)", _with(CustomerColumns(id=by_name["customerid"], attributes=named), given)
    if given.id:
        return GIVEN, given
    found = CustomerColumns(
        id=_Roles("customers", names, path, given).needed("id", (*USER, "id"), wanted), attributes=()
    )
    return "columns by their names", _with(found, given)


def resolved(columns: Columns, names: Sequence[str], path: Path | str, table: str) -> Columns:
    """Replace the names in shop.toml by those of the file; case and punctuation are ignored if only one column fits.

    Raises:
        InputError: there is no such column; the message lists those that there are.
    """

    def found(key: str, name: str, table: str = table) -> str:
        alike = [name] if name in names else [other for other in names if plain(other) == plain(name) and plain(name)]
        if len(alike) == 1:
            return alike[0]
        raise NoColumnError(
            f'{path}: shop.toml: [{table}] {key} = "{printable(name, 100)}": the table has no such column; it has'
            f" {printable(', '.join(names), 500)}"
        )

    changed: dict[str, object] = {}
    for key in ("user", "item", "time", "rating", "kind", "id", "variant", "title", "price"):
        name = getattr(columns, key, None)
        if name:
            changed[key] = found(key, name)
    pictures = getattr(columns, "pictures", None)
    if pictures:
        one = isinstance(pictures, str)
        changed["pictures"] = (
            found("pictures", pictures) if one else tuple(found("pictures", name) for name in pictures)
        )
    if isinstance(columns, ProductColumns):
        changed["categories"] = tuple(found("categories", name) for name in columns.categories)
    named = getattr(columns, "attributes", None)
    if named is not None:
        of = "attributes" if isinstance(columns, ProductColumns) else "customers.attributes"
        changed["attributes"] = tuple((key, found(key, name, of)) for key, name in named)
    return dataclasses.replace(columns, **changed)


def named(columns: AnyColumns) -> tuple[str, ...]:
    """List the columns that have a role."""
    found = [getattr(columns, role, None) for role in ("id", "user", "item", *ROLES)]
    texts = [name for one in found if one for name in ((one,) if isinstance(one, str) else one)]
    return (*texts, *(column for _, column in getattr(columns, "attributes", None) or ()))


def has_amazon_keys(kind: str, names: Sequence[str]) -> bool:
    """Return whether JSON has the ids of Amazon's reviews or products (`core/raw/vintages.py`)."""
    is_item = "asin" in names or "parent_asin" in names
    return is_item and (kind == "products" or "reviewerID" in names or "user_id" in names)


def are_recognised(kind: str, names: Sequence[str]) -> bool:
    """Return whether a table with these names has what reviews or products need, perhaps several times."""
    needed = (USER, (*ITEM, "parent_asin")) if kind == "reviews" else (PRODUCT, (*TITLE, *CATEGORIES, *PICTURES))
    there = {plain(name) for name in names}
    return all(any(plain(name) in there for name in role) for role in needed)


def fits(columns: AnyColumns, names: Sequence[str]) -> bool:
    """Return whether a table with these names has every column of the layout."""
    try:
        resolved(columns, names, Path(), "")
    except InputError:
        return False
    return True


def said(columns: AnyColumns) -> str:
    """Describe in one line which column has which role."""
    shown = ("user", "item", "id", "variant", "title", "categories", "time", "rating", "kind", "pictures", "price")
    parts = []
    for key in shown:
        value = getattr(columns, key, None)
        if value:
            parts.append(f"{key} = {printable(' > '.join(value) if isinstance(value, tuple) else value, 100)}")
    if named := getattr(columns, "attributes", None):
        parts.append(f"attributes: {printable(', '.join(name for name, _ in named), 300)}")
    return ", ".join(parts)


class _Roles:
    """Finds the columns of roles among the names of a table."""

    def __init__(
        self,
        table: str,
        names: Sequence[str],
        path: Path | str,
        given: AnyColumns,
    ) -> None:
        self._table, self._names, self._path, self._given = table, names, path, given

    def one(self, role: str, synonyms: Sequence[str], wanted: str | None = None) -> str | None:
        """Return the only column that fits a role; None if none fits, or shop.toml names it."""
        if getattr(self._given, role) or role in self._given.off:
            return getattr(self._given, role) or None
        meant = {plain(name) for name in synonyms}
        found = [name for name in self._names if plain(name) in meant]
        if len(found) > 1 and wanted is not None:
            found = [name for name in found if plain(name) == plain(wanted)] or found
        for part, whole in RATHER:
            if {part, whole} <= {plain(name) for name in found}:
                found = [name for name in found if plain(name) != part]
        if len(found) > 1:
            listed = " or ".join(printable(name, 60) for name in found[:8])
            raise InputError(
                f"{self._path}: which column is the {role}: {listed}? Say so in shop.toml:"
                f' [{self._table}] {role} = "{printable(found[0], 60)}"'
            )
        return found[0] if found else None

    def needed(self, role: str, synonyms: Sequence[str], wanted: str | None = None) -> str:
        """Return the column of a role that every table has."""
        found = self.one(role, synonyms, wanted)
        if found is None:
            raise NoColumnError(
                f"{self._path}: no column is known as the {role}; the table has the columns"
                f' {printable(", ".join(self._names), 500)}. Name it in shop.toml: [{self._table}] {role} = "..."'
                " (ATELIER_SHOP names that file); if the first row is data, header = false"
            )
        return found


def _with(found: Columns, given: Columns) -> Columns:
    """Override recognised columns by those of shop.toml."""
    default = type(given)()
    changed = {
        field.name: getattr(given, field.name)
        for field in dataclasses.fields(given)
        if getattr(given, field.name) != getattr(default, field.name) or field.name in given.off
    }
    return dataclasses.replace(found, **changed)


def _present(wanted: Sequence[str], by_name: dict[str, str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(by_name[plain(name)] for name in wanted if plain(name) in by_name))


def _beside(table: Path, pattern: str, folders: Sequence[str]) -> PictureFiles:
    """Place a layout's pattern in the first folder that shop.toml names, else beside the table if its folder is there.

    The named folder may be the one in which the pattern's first folder is, or that folder itself.
    """
    first, _, inside = pattern.partition("/")
    local = next((Path(folder) for folder in folders if not is_stored(folder)), None)
    if local is not None:
        place = local / first if (local / first).is_dir() else local
        return PictureFiles(inside, tuple(dict.fromkeys([str(place), *folders])))
    if (table / first).is_dir():
        return PictureFiles(pattern, (str((table / first).resolve()), *folders))
    return PictureFiles(folders=tuple(folders))


def _by_position(names: Sequence[str], sample: Sequence[Sequence[str]], path: Path | str) -> InteractionColumns:
    """Read user,item[,rating][,time] without a header, as Amazon's ratings-only files and MovieLens' u.data are."""
    columns = list(zip(*sample, strict=True)) or [()] * len(names)
    kinds = ["rating" if _is_rating(values) else "time" if _is_time(values) else "?" for values in columns[2:]]
    if len(names) < 2 or kinds not in ([], ["rating"], ["time"], ["rating", "time"]):
        raise InputError(
            f"{path}: has no names of columns, and its {len(names)} columns are not user, item, rating, time; say in"
            ' shop.toml which is which: [interactions] user = "1", item = "2", time = "4"'
        )
    user, item = 0, 1
    if _share(_ASIN, columns[0]) > 0.9 and _share(_REVIEWER, columns[1]) > 0.9:
        user, item = 1, 0  # Amazon's ratings of 2018 have the item first
    places = dict(zip(kinds, names[2:], strict=True))
    return InteractionColumns(
        user=names[user], item=names[item], rating=places.get("rating"), time=places.get("time"), header=False
    )


def _is_rating(values: Sequence[str]) -> bool:
    return bool(values) and all(re.fullmatch(r"\s*(\d{1,2}([.,]\d+)?|100([.,]0+)?)?\s*", value) for value in values)


def _is_time(values: Sequence[str]) -> bool:
    return bool(values) and all(re.fullmatch(r"\s*(\d{8,19}(\.\d+)?|\d{4}-\d\d-\d\d.*)?\s*", value) for value in values)


def _share(pattern: re.Pattern[str], values: Sequence[str]) -> float:
    return sum(1 for value in values if pattern.match(value.strip())) / max(len(values), 1)
