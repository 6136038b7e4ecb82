"""Render the second half of docs/input-formats.md: how values are read, what is refused, and the limits."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from pipeline.cli.markdown import codes, prose, table
from pipeline.core.images import archives
from pipeline.core.raw import (
    addresses,
    attribute_values,
    dialects,
    forms,
    framing,
    parsing,
    sources,
    table_rows,
    tables,
    unusable,
    values,
    vintages,
)
from pipeline.core.shop import mapping, picture_files

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
    "quote_not_closed": "a quote that opens a value and does not close before the next value or row; each line that it"
    f" swallowed is a reject, and over {tables.LINES_IN_A_ROW} lines the file is refused",
    "header_again": "the header again, where files were joined; one with other columns is refused",
    "id_rounded": "an id that was rounded as a number, such as `4.05111E+12`, or a float too long for its type",
    "kind_negative": "a kind of interaction that shop.toml lists as `negative`, or a return by its name",
    "kind_ignored": "a kind that shop.toml lists as `ignored`, or a view by its name where others are purchases",
    "kind_unknown": "a kind that is neither listed nor known, although others are `positive`",
}
MOMENT = datetime(2024, 3, 1, 13, 5, 9, tzinfo=UTC)


def sections() -> list[Iterator[str]]:
    """Return the sections of the page, each as its lines."""
    return [_values(), _pictures(), _refused(), _limits()]


def _values() -> Iterator[str]:
    least, most = values.RATINGS
    forms_of_time = codes(MOMENT.strftime(form) for form in values.FORMATS)
    no_value = codes(word.replace("\\n", "\\N") for word in values.MISSING if word)
    no_id = codes(values.NO_ID)
    yield "## Values"
    yield ""
    yield prose(f"""\
**Ids** are texts: leading zeros stay. Blanks around an id are removed, and `12.0` becomes `12`. If a program
has removed leading zeros, `width = 10` puts them back. Blank values, JSON lists, JSON objects and {no_id} are
no ids.

**Times** are numbers or texts. A number is seconds, milliseconds, microseconds or nanoseconds since 1970 by its
size; one of eight digits that is a day of the calendar, `20240301`, is a date. A text is ISO 8601
(`2024-03-01`, `2024-03-01T13:05:09+02:00`), MongoDB's `{{"$date": ...}}`, or one of {forms_of_time}. A date
such as `03/04/2024` can mean two days, so it is not guessed: give `time_unit = "%d/%m/%Y"`. If the table's column
has a day beyond the twelfth, that decides. A column of years needs `time_unit = "%Y"`, one of a spreadsheet's days
`time_unit = "excel"`. Times without a zone are in `zone`. A time that cannot be read becomes empty, and is counted.

**Ratings** are numbers from {least} to {most}; `4,5` is 4.5, and `4/5`, `4 out of 5 stars` and
`★★★★` are 4. A rating that cannot be read becomes empty, and is
counted. A missing time or rating may be written as {no_value}, in capitals or not.

**Prices** may have a currency, and a decimal point or comma: `12.50`, `€ 12,50`, `1.299,00 kr`.

**Titles** and attributes lose markup, scripts and entities (`&amp;`). A title that is a page's script becomes empty.

**Categories** go from the widest to the narrowest. One column may hold several: `Women > Tops`, `Women|Tops`, a
JSON list or a Python list.""")


def _pictures() -> Iterator[str]:
    of_product, of_archive = f"{picture_files.PER_PRODUCT:,}", f"{archives.MEMBERS_AT_MOST:,}"
    yield "## Pictures"
    yield ""
    yield prose(f"""\
A field may hold one address, a list, or a text with several: JSON, a Python list, a NumPy array, or addresses with
`|`, `,`, `;`, a blank, a new line or `<br>` between. Of an object the address is under `url`, `src`, `href`, `link`,
`image_url`, `image` or `path`, or under Amazon's sizes of 2023. Quotation marks, `<img src="...">`, `url(...)`,
`=IMAGE("...")` and Markdown around an address are removed. An address is one of

- `http://`, `https://`, or `//host/...`; it is requested as it was written;
- a path, relative to the folder of its table, or absolute, or `file://`;
- a member of a zip or an uncompressed tar: `pictures.zip/41.jpg` or `pictures.tar!/41.jpg`. Nothing is unpacked;
- `s3://bucket/key`, read with the keys and the endpoint of the `AWS_` variables.

Or give a `pattern` in shop.toml: `images/{{id:.3}}/{{id}}.jpg` takes the first three characters of the column
`id` as the folder, and `{{id}}_*.jpg` every file whose name begins so, at most {of_product} for a product;
`pics.zip/{{id}}_*.jpg` does so in an archive. Without a `*`, a pattern may be `s3://bucket/{{id}}.jpg`
or `https://host/{{id}}.jpg`. A new file that matches a `*` is read at the next run. Beside H&M's and Myntra's
tables, and in the first of `folders`, their `images/` is found without it.

Local pictures are read only inside the folders of the tables and those that `folders` names, links included. A
table that was fetched from an address may name no local files. An archive may have {of_archive} members, and a
member may grow to {archives.RATIO_AT_MOST} times its size. Pictures in a bucket are read only inside those of the
`folders` that are `s3://bucket/prefix`. [operations.md](operations.md) has the formats and
the limits of pictures. Videos are skipped. What cannot be used is counted by kind:
{"; ".join(unusable.KINDS.values())}.""")


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
        "lines with a text before their JSON, as in a log": "take the text away: `sed 's/^[^{]*//'`",
        "lines of JSON in quotes": "take the quotes away: `jq -c fromjson`",
        "a script (`export default`, `callback(`)": "take away what surrounds the brackets",
        "CSV whose header has one name too few, as R's `write.table` writes": "write a name for every column",
        "CSV where the names of columns come again in another order": "split the file there, and name both",
        "text in another encoding than shop.toml names": "take `encoding` out, or name the right one",
        "JSON as an object of columns, or an array of arrays (pandas' `to_json`)": 'write it with `orient="records",'
        " lines=True`",
    }
    yield from table("file", "what to do", rows=[*refused.items(), *more.items()])
    yield ""
    yield prose("""\
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
        (
            "an attribute",
            f"{attribute_values.CHARACTERS:,} characters; longer ones are cut (`attributes_cut`)",
        ),
        ("a title", f"{vintages.TITLE_CHARACTERS:,} characters; longer ones are cut (`titles_cut`)"),
        ("a category", f"{vintages.CATEGORY_CHARACTERS} characters; longer ones are cut (`categories_cut`)"),
        ("categories of a product", f"{vintages.CATEGORIES_AT_MOST}; further ones are dropped (`categories_left_out`)"),
        ("a time written as text", f"{values.MOMENT_CHARACTERS} characters"),
        ("columns in one list of shop.toml", f"{mapping.COLUMN_AT_MOST:,}"),
    )
    yield from table("of", "at most", rows=rows)
