"""Render docs/input-formats.md from the code: what files are read, how they are understood, what is refused.

`reference.py` writes the page. Lists, limits and keys come from the modules that use them.
"""

import dataclasses
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import GenericAlias, UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pipeline.cli import input_values
from pipeline.cli.markdown import codes, prose, table
from pipeline.core.raw import dialects, forms, sources, vintages
from pipeline.core.shop import attributes, layouts, mapping
from pipeline.core.shop.examples import EXAMPLES, Example

DELIMITERS = {"\t": "tab", "\x01": "Ctrl-A", " ": "blank"}
SECTION = re.compile(r"^(?:# )?\[([\w.]+)\](?:  # (.*))?$", re.MULTILINE)  # of a shop.toml, with its meaning
INTERACTIONS, PRODUCTS, CUSTOMERS = "interactions", "products", "customers"


def page() -> str:
    """Render the page as Markdown."""
    parts = [_opening(), _files(), _layouts(), _shop_toml(), *input_values.sections()]
    return "\n\n".join("\n".join(part).strip() for part in parts) + "\n"


def _opening() -> Iterator[str]:
    yield prose("""\
# Input formats

Use this page to find out how your files are read, and what to write into `shop.toml` if they are misunderstood.
It is generated from the code by `python -m pipeline.cli.reference --write`; a test compares them.

Atelier reads three kinds of table: **interactions** (orders, ratings, reviews, clicks), **products** and, if you
like, **customers**. Interactions need a user and an item; time, rating and the customer's own photos are used if
they are there. Products need an id; title, categories and pictures are used if they are there. Price and
attributes are kept, and nothing uses them yet; of customers only what shop.toml names
([configuration.md](configuration.md#customers)). `atelier inspect` shows in seconds how your files are
understood.""")


def _files() -> Iterator[str]:
    suffixes = codes(name for name in sources.SUFFIXES if name.count(".") == 1)
    delimiters = ", ".join(DELIMITERS.get(mark, f"`{mark}`") for mark in dialects.DELIMITERS)
    yield "## Files"
    yield ""
    yield prose("""\
`ATELIER_REVIEWS` (or `ATELIER_INTERACTIONS`), `ATELIER_PRODUCTS` and `ATELIER_CUSTOMERS` say where the tables
are. Separate several by commas.""")
    yield ""
    yield from table("place", "written as", "read", "bounds", rows=sources.PLACES)
    yield ""
    yield prose(f"""\
A folder means the files in it that end with {suffixes}, also with `.gz`, `.zst` or `.zip`. Folders named
`key=value` (Hive's partitions) are read at any depth, and add a column `key`. Hidden files
(also macOS's companions, `._*`), and empty files among others, are skipped; hidden ones are named.

A file's first bytes decide what it is; its name does not:""")
    yield ""
    yield from table("form", "recognised by", "what is read", rows=forms.FORMS)
    yield ""
    yield prose(f"""\
**Text** is UTF-8, or UTF-16 or UTF-32 if a byte-order mark or its zero bytes show that. A CSV value that is not
UTF-8 is read as Windows' cp1252, and counted. Name any other encoding in shop.toml. **Delimiters** that are
recognised: {delimiters}. Excel's first line `sep=;` and blank lines before the header are skipped, and so are
lines with `#` before a known name. The delimiter is the one that splits the header into the most known names. The first
row is a header if it holds a known name, or if its values are neither numbers nor dates. A second column
`price` becomes `price#2`; a column without a name gets its number, from `1`. JSON may mix Amazon's vintages;
with a shop.toml that names its keys, JSON of any keys is read as a table.""")


def _layouts() -> Iterator[str]:
    yield "## Layouts that are recognised"
    yield ""
    yield prose("""\
A column is recognised by its name, whatever its case and punctuation. If two columns could have the same role,
Atelier stops and asks which one is meant. These names are known:""")
    yield ""
    roles = (
        (f"{INTERACTIONS}: user", layouts.USER), (f"{INTERACTIONS}: item", (*layouts.ITEM, "parent_asin")),
        (f"{INTERACTIONS}: time", layouts.TIME), (f"{INTERACTIONS}: rating", layouts.RATING),
        (f"{INTERACTIONS}: kind", layouts.KIND), (f"{INTERACTIONS}: pictures", layouts.PHOTOS),
        (f"{PRODUCTS}: id", (*layouts.PRODUCT, "parent_asin")), (f"{PRODUCTS}: title", layouts.TITLE),
        (f"{PRODUCTS}: categories, all that are there, the widest first", layouts.CATEGORIES),
        (f"{PRODUCTS}: pictures, all that are there", layouts.PICTURES),
        (f"{PRODUCTS}: price", ("price", *attributes.PRICE)),
        (f"{PRODUCTS}: attributes", [name for names in attributes.PRODUCTS.values() for name in names]),
        (f"{CUSTOMERS}: id", (*layouts.USER, "id")),
    )  # fmt: skip
    yield from table("role", "names", rows=[(role, codes(names)) for role, names in roles])
    yield ""
    pairs = [f"`{first}` and `{second}`" for first, second in sorted(layouts.RATHER)]
    yield prose(f"""\
If a table has both columns of one of these pairs, the second is meant: {", ".join(pairs)}. Of several ids of
products, the one that is called like the item of the interactions is meant.

Some layouts have rules of their own. Below, each is shown by the first lines of its files and by the
`shop.toml` that says the same; copy it if your files are almost like these.""")
    for example in EXAMPLES:
        yield from _example(example)
    yield from ("", "### Amazon's JSON lines", "", "Each line is read by its own vintage, which its keys show.", "")
    for kind, text in vintages.SHAPES.items():
        yield from (f"{kind.capitalize()}:", "", "```text", *(line.strip() for line in text.splitlines()), "```", "")


def _example(example: Example) -> Iterator[str]:
    yield from ("", f"### {example.title}", "")
    if example.about:
        yield from (prose(example.about), "")
    for name, text in {**example.interactions, **example.products, **example.customers}.items():
        yield from (f"`{name}`", "", "```text", *text.splitlines(), "```", "")
    with tempfile.TemporaryDirectory() as folder:
        yield from ("```toml", *example.toml(Path(folder)).splitlines(), "```")


def _shop_toml() -> Iterator[str]:
    yield "## shop.toml"
    yield ""
    yield prose("""\
`ATELIER_SHOP` names the file, `--shop` for `atelier inspect`. `atelier inspect --toml shop.toml` writes one
that says how your files were understood. Name a column as the table does; case and punctuation may differ. What
the file leaves out is recognised. Columns without a header are `1`, `2`, and so on. Besides the tables below,
`layout` may name the layout in your words; messages repeat it. An unknown key, or a value that means nothing,
is refused with its line.""")
    tables_of_shop = get_type_hints(mapping.Shop)
    for name, about in SECTION.findall(mapping.Shop().toml()):
        yield from ("", f"### [{name}]", *(("", about) if about else ()))
        if name in tables_of_shop:
            yield ""
            yield from table("key", "type", "meaning", "default", rows=list(_keys(tables_of_shop[name])))


def _keys(of: Any) -> Iterator[tuple[str, str, str, str]]:
    """Yield the keys of a table of shop.toml, those of the class itself before the inherited ones."""
    hints = get_type_hints(of, include_extras=True)
    own = [field for field in dataclasses.fields(of) if field.name in of.__annotations__]
    for field in [*own, *(field for field in dataclasses.fields(of) if field not in own)]:
        if get_origin(hints[field.name]) is not Annotated:
            continue  # a table of its own
        kind, doc = get_args(hints[field.name])
        default = field.default if field.default is not dataclasses.MISSING else ""
        shown = "" if default in (None, "", ()) and field.name != "quote" else f"`{default}`"
        yield f"`{field.name}`", _type(kind), doc.documentation, shown


def _type(kind: Any) -> str:
    if isinstance(kind, UnionType):
        kind = next(one for one in get_args(kind) if one is not type(None))
    if isinstance(kind, GenericAlias):
        return "list of texts"
    return {str: "text", int: "whole number", bool: "true or false"}[kind]
