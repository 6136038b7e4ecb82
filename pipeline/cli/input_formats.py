"""Render docs/input-formats.md from the code: what files are read, how they are understood, what is refused.

`reference.py` writes the page. Lists, limits and keys come from the modules that use them.
"""

import dataclasses
import re
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import GenericAlias, UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pipeline.cli.markdown_table import table
from pipeline.core.images import archives
from pipeline.core.raw import (
    addresses,
    dialects,
    forms,
    framing,
    parsing,
    sources,
    table_rows,
    tables,
    values,
    vintages,
)
from pipeline.core.shop import layouts, mapping, picture_files
from pipeline.core.shop.examples import EXAMPLES, Example

MEANINGS = {  # of the reasons in the table `rejects`
    "not_json": "the line is not JSON",
    "not_an_object": "the line is JSON, but no object",
    "reviewer_missing": "no user",
    "asin_missing": "no item",
    "too_long": f"a line of over {framing.MAX_LINE_BYTES >> 20} MiB",
    "reviewer_too_long": f"a user's id of over {parsing.ID_BYTES} bytes",
    "asin_too_long": f"an item's id of over {parsing.ID_BYTES} bytes",
    "too_many_pictures": f"more than {parsing.PICTURES_AT_MOST:,} pictures in a row",
    "time_out_of_range": "a time before 1970 or after 2099",
    "rating_out_of_range": f"a rating outside {values.RATINGS[0]} to {values.RATINGS[1]}",
    "too_many_values": "more values than columns",
    "too_few_values": "fewer values than columns",
    "kind_negative": "a kind of interaction that shop.toml lists as `negative`",
    "kind_ignored": "a kind that shop.toml lists as `ignored`",
    "kind_unknown": "a kind that shop.toml does not list, although it lists `positive` ones",
}
WIDTH = 118  # characters of a line of prose
MOMENT = datetime(2024, 3, 1, 13, 5, 9, tzinfo=UTC)
DELIMITERS = {"\t": "tab", "\x01": "Ctrl-A", " ": "blank"}
SECTION = re.compile(r"^(?:# )?\[([\w.]+)\](?:  # (.*))?$", re.MULTILINE)  # of a shop.toml, with its meaning
INTERACTIONS, PRODUCTS = "interactions", "products"


def page() -> str:
    """Render the page as Markdown."""
    parts = [_opening(), _files(), _layouts(), _shop_toml(), _values(), _pictures(), _refused(), _limits()]
    return "\n\n".join("\n".join(part).strip() for part in parts) + "\n"


def _prose(text: str) -> str:
    """Wrap paragraphs; lists and headings stay as they are."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        each
        if each.startswith(("- ", "#"))
        else textwrap.fill(each, WIDTH, break_long_words=False, break_on_hyphens=False)
        for each in paragraphs
    )


def _opening() -> Iterator[str]:
    yield _prose("""\
# Input formats

Use this page to find out how your files are read, and what to write into `shop.toml` if they are misunderstood.
It is generated from the code by `python -m pipeline.cli.reference --write`; a test compares them.

Atelier reads two kinds of table: **interactions** (orders, ratings, reviews, clicks) and **products**.
Interactions need a user and an item; time, rating and the customer's own photos are used if they are there.
Products need an id; title, categories and pictures are used if they are there. `atelier inspect` shows in
seconds how your files are understood.""")


def _files() -> Iterator[str]:
    suffixes = _codes(name for name in sources.SUFFIXES if name.count(".") == 1)
    delimiters = ", ".join(DELIMITERS.get(mark, f"`{mark}`") for mark in dialects.DELIMITERS)
    yield "## Files"
    yield ""
    yield _prose("""\
`ATELIER_REVIEWS` (or `ATELIER_INTERACTIONS`) and `ATELIER_PRODUCTS` say where the tables are. Separate several by
commas.""")
    yield ""
    yield from table("place", "written as", "read", "bounds", rows=sources.PLACES)
    yield ""
    yield _prose(f"""\
A folder stands for the files in it that end with {suffixes}, also with `.gz`, `.zst` or `.zip`. Folders named
`key=value` (Hive's partitions) are read at any depth, and add a column `key`. macOS's companion
files (`._*`), and empty files among others, are skipped.

A file's first bytes decide what it is; its name does not:""")
    yield ""
    yield from table("form", "recognised by", "what is read", rows=forms.FORMS)
    yield ""
    yield _prose(f"""\
**Text** is UTF-8, or UTF-16 or UTF-32 if a byte-order mark or its zero bytes show that. A CSV value that is not
UTF-8 is read as Windows' cp1252, and counted. Name any other encoding in shop.toml. **Delimiters** that are
recognised: {delimiters}. Excel's first line `sep=;` and blank lines before the header are skipped. The first
row is a header if it holds a known name, or if its values are neither numbers nor dates. A second column
`price` becomes `price#2`; a column without a name gets its number, from `1`. JSON may mix Amazon's vintages;
with a shop.toml that names its keys, JSON of any keys is read as a table.""")


def _layouts() -> Iterator[str]:
    yield "## Layouts that are recognised"
    yield ""
    yield _prose("""\
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
    )  # fmt: skip
    yield from table("role", "names", rows=[(role, _codes(names)) for role, names in roles])
    yield ""
    pairs = [f"`{first}` and `{second}`" for first, second in sorted(layouts.RATHER)]
    yield _prose(f"""\
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
        yield from (_prose(example.about), "")
    for name, text in {**example.interactions, **example.products}.items():
        yield from (f"`{name}`", "", "```text", *text.splitlines(), "```", "")
    with tempfile.TemporaryDirectory() as folder:
        yield from ("```toml", *example.toml(Path(folder)).splitlines(), "```")


def _shop_toml() -> Iterator[str]:
    yield "## shop.toml"
    yield ""
    yield _prose("""\
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


def _values() -> Iterator[str]:
    least, most = values.RATINGS
    forms_of_time = _codes(MOMENT.strftime(form) for form in values.FORMATS)
    no_value = _codes(word.replace("\\n", "\\N") for word in values.MISSING if word)
    no_id = _codes(table_rows.NO_ID)
    yield "## Values"
    yield ""
    yield _prose(f"""\
**Ids** are texts: leading zeros stay. Blanks around an id are removed, and `12.0` becomes `12`. If a program
has removed leading zeros, `width = 10` puts them back. Blank values, JSON lists, JSON objects and {no_id} are
no ids.

**Times** are numbers or texts. A number is seconds, milliseconds, microseconds or nanoseconds since 1970 by its
size; one of eight digits that is a day of the calendar, `20240301`, is a date. A text is ISO 8601
(`2024-03-01`, `2024-03-01T13:05:09+02:00`), MongoDB's `{{"$date": ...}}`, or one of {forms_of_time}. A date
such as `03/04/2024` can mean two days, so it is not guessed: give `time_unit = "%d/%m/%Y"`. Times without a
zone are in `zone`. A time that cannot be read becomes empty, and is counted.

**Ratings** are numbers from {least} to {most}; `4,5` is 4.5. A rating that cannot be read becomes empty, and is
counted. A missing time or rating may be written as {no_value}, in capitals or not.

**Titles** lose markup, scripts and entities (`&amp;`). A title that is a page's script becomes empty.

**Categories** go from the widest to the narrowest. One column may hold several: `Women > Tops`, `Women|Tops`, a
JSON list or a Python list.""")


def _pictures() -> Iterator[str]:
    of_product, of_archive = f"{picture_files.PER_PRODUCT:,}", f"{archives.MEMBERS_AT_MOST:,}"
    yield "## Pictures"
    yield ""
    yield _prose(f"""\
A field may hold one address, a list, JSON or a Python list as text, several addresses with `|` between, or
Amazon's sizes of 2023. An address is one of

- `http://`, `https://`, or `//host/...`; it is requested as it was written;
- a path, relative to the folder of its table, or absolute, or `file://`;
- a member of a zip or an uncompressed tar: `pictures.zip/41.jpg` or `pictures.tar!/41.jpg`. Nothing is unpacked.

Or give a `pattern` in shop.toml: `images/{{id:.3}}/{{id}}.jpg` takes the first three characters of the column
`id` as the folder, and `{{id}}_*.jpg` every file whose name begins so, at most {of_product} for a product.
Beside H&M's and Myntra's tables, `images/` is found without it.

Local pictures are read only inside the folders of the tables and those that `folders` names, links included. A
table that was fetched from an address may name no local files. An archive may have {of_archive} members, and a
member may grow to {archives.RATIO_AT_MOST} times its size. [operations.md](operations.md) has the formats and
the limits of pictures. Videos are skipped. Addresses that cannot be used (`data:`, a Windows path, a host
without `https://`) are counted by kind.""")


def _refused() -> Iterator[str]:
    yield "## What is refused"
    yield ""
    yield "These files are named and not read:"
    yield ""
    refused: dict[str, str] = {}
    for _, name, mend in forms.REFUSED:
        refused.setdefault(name, mend)
    more = {
        "an Excel file (xlsx), an OpenDocument spreadsheet": refused["an Excel file (xls)"],
        "a tar archive as a table": "unpack it and name the files inside, or their folder",
        "a file that is compressed twice": "decompress it once",
        "a zip of several files": "unpack it and name the table",
        "a zip with a password": "unpack it and name the file inside",
        "HTML, XML": "a server perhaps answered with a page; fetch the file again, or export it as CSV",
        "CSV with `::` between the values": "replace it by a tab: `sed 's/::/\\t/g'`",
        "JSON as an object of columns, or an array of arrays (pandas' `to_json`)": 'write it with `orient="records",'
        " lines=True`",
    }
    yield from table("file", "what to do", rows=[*refused.items(), *more.items()])
    yield ""
    yield _prose("""\
These rows are in the table `rejects`, with file, line and reason; all others are read:""")
    yield ""
    reasons = (*parsing.REJECT_REASONS, *table_rows.TABLE_REASONS)
    yield from table("reason", "meaning", rows=[(f"`{reason}`", MEANINGS[reason]) for reason in reasons])


def _limits() -> Iterator[str]:
    yield "## Limits"
    yield ""
    rows: Sequence[tuple[str, str]] = (
        ("a line of JSON", f"{framing.MAX_LINE_BYTES >> 20} MiB"),
        ("a row of CSV", f"{tables.BLOCK_BYTES >> 20} MiB"),
        ("columns of a CSV file", f"{dialects.NAMES_AT_MOST:,}"),
        ("lines within one quoted value of a malformed row", f"{tables.LINES_IN_A_ROW}"),
        (
            "growth of a zip's file",
            f"{forms.MEMBER_RATIO} times, or to {forms.SMALL_MEMBER >> 20} MiB",
        ),
        ("files in a zip", f"{forms.MEMBERS_AT_MOST:,}"),
        ("Hive's partitions", f"{sources.PARTITIONS_AT_MOST:,}"),
        ("an id", f"{parsing.ID_BYTES} bytes"),
        ("pictures of a row", f"{parsing.PICTURES_AT_MOST:,}"),
        ("an address of a picture", f"{addresses.URL_CHARACTERS:,} characters; longer ones are dropped"),
        ("a title", f"{vintages.TITLE_CHARACTERS:,} characters; longer ones are cut (`titles_cut`)"),
        ("a category", f"{vintages.CATEGORY_CHARACTERS} characters; longer ones are cut (`categories_cut`)"),
        ("categories of a product", f"{vintages.CATEGORIES_AT_MOST}; further ones are dropped (`categories_left_out`)"),
        ("a time written as text", f"{values.MOMENT_CHARACTERS} characters"),
        ("columns in one list of shop.toml", f"{mapping.COLUMN_AT_MOST:,}"),
    )
    yield from table("of", "at most", rows=rows)


def _codes(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)
