"""Judge facts: what makes a run pointless, with the likely reason and what to do, and what is only worth a warning."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.core.quoting import printable
from pipeline.core.raw import unusable
from pipeline.core.raw.table_rows import KIND_COUNTED
from pipeline.core.shop.kinds import listed
from pipeline.inspection.facts import Facts, LineCounts

MEETING = 0.01  # under this share of reviewed ids among the products, nothing can come of a run
SAME = 0.9  # of the items with pictures of several users, those with one picture if these are of the products
FEW_MEET, FEW_PICTURES, FEW_TIMES = 0.5, 0.5, 0.5  # shares under which a person is warned
# Earlier and later times are hardly meant: 1995-01-01, before shops had reviews, and 2100-01-01.
TIMES = 788_918_400, 4_102_444_800
REASONS = {
    "zeros_lost": "one of the files lost leading zeros, as when ids are read as numbers; write ids as text"
    " (in pandas: read with dtype=str), or say in shop.toml how many digits they have (width = 10)",
    "float": "one of the files has ids written as numbers with '.0', as pandas does in a column with gaps; write ids as"
    " text (in pandas: read with dtype=str)",
    "case": "one of the files has them in capitals, the other does not; write them alike",
    "blanks": "one of the files has blanks or invisible characters in them; remove those",
    "quotes": "one of the files has quotation marks around them; remove those",
    "several": "they were changed in several ways: zeros, '.0', case or blanks; write ids as text, unchanged",
    "swapped": "the products have the ids of users; the columns of user and item are swapped",
    "": "are both files of the same shop, with the same kind of id?",
}
# Reasons of rejects that need words, and what to do about them.
REJECTED = {
    "not_json": "the line is not JSON",
    "not_an_object": "the line is no JSON object",
    "reviewer_missing": "the user's id is missing, or is no text",
    "asin_missing": "the item's id is missing, or is no text",
    "quote_not_closed": "a value opens with a quotation mark that does not close before the next value or row; if the"
    ' file quotes nothing, say so in shop.toml: quote = "", otherwise mend the first of these rows',
    "header_again": "the names of the columns come again, as where files were joined; nothing is lost",
    "id_rounded": "the id is a number that was rounded, as spreadsheets show long ones (4.05111E+12), so that several"
    " became one; export the column as text",
}
ANYWAY = "--anyway goes on."


@dataclass(frozen=True)
class Cause:
    """Why nothing can come of a run: a short name, and the whole sentence."""

    name: str
    text: str

    @property
    def stop(self) -> str:
        """Return the message of a run that stops because of it."""
        return f"nothing can come of this run: {self.text.removesuffix('.')}. {ANYWAY}"


def pointless(facts: Facts, k: int = 5, generator_alone: bool = False) -> list[Cause]:
    """List what keeps a run from any result, the first cause first; empty if something can come of it.

    Args:
        facts: `measure`'s, with this k among its cores.
        k: the minimum number of distinct items of a user.
        generator_alone: whether only the generator's assets are wanted, which need no user whose items have pictures.
    """
    found = _causes(facts, k, generator_alone)
    if not facts.understood:
        return found
    understood = "; ".join(facts.understood)
    return [Cause(one.name, f"{one.text} (understood: {understood}; a shop.toml corrects that)") for one in found]


def nothing_read(facts: Facts) -> list[Cause]:
    """List the kinds of files of which no line was accepted; even their tables would be empty."""
    kinds = {"review": facts.review_lines, "product": facts.product_lines}
    return [
        Cause(f"no_{kind}", unread(lines, f"a {kind}"))
        for kind, lines in kinds.items()
        if lines is not None and lines.lines and not lines.accepted
    ]


def _causes(facts: Facts, k: int, generator_alone: bool) -> list[Cause]:
    lines, products, tables = facts.review_lines, facts.product_lines, facts.tables
    if lines is None or generator_alone:
        found = [*_products(facts, products), *_no_picture(facts)]
        if lines is not None and lines.accepted:
            found += _no_user(facts, k)
        return found[:1]
    if not lines.accepted:
        return [Cause("no_review", unread(lines, "a review"))]
    if none := _no_user(facts, k):
        return none
    if tables.core(k).users_by_customers and not _pictures_of_products(facts):  # their photos are enough
        return []
    return [*_products(facts, products), *_apart(facts), *_no_picture(facts), *_few_pictured(facts, k)][:1]


def unread(lines: LineCounts, what: str) -> str:
    """Describe why no line could be read, with the first one."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in lines.reasons.items())
    commonest = next(iter(lines.reasons), "")
    words = f" ({REJECTED[commonest]})" if commonest in REJECTED else ""
    text = (
        f"none of the {lines.lines:,} lines could be read as {what}: {reasons}{words}. The first: {lines.first_reject}"
    )
    if ': {"' in lines.first_reject and '": {"0":' in lines.first_reject.replace('":{"', '": {"'):
        text += " This is pandas' to_json() with its defaults, an object of columns; write it with"
        return f"{text} to_json(path, orient='records', lines=True)."
    return f"{text} Every line must be one JSON object." if commonest in ("not_json", "not_an_object") else text


def _products(facts: Facts, lines: LineCounts) -> Iterator[Cause]:
    if lines.lines and not lines.accepted:
        yield Cause("no_product", unread(lines, "a product"))


def _no_user(facts: Facts, k: int) -> list[Cause]:
    tables = facts.tables
    if tables.cores[k].users:
        return []
    sizes = ", ".join(f"{core.users:,} with {size}" for size, core in tables.cores.items() if size != k and core.users)
    return [
        Cause(
            "no_user",
            f"no user with {k} distinct items among {tables.users:,} users and {tables.reviews:,} reviews"
            f" ({sizes or 'nobody has two'}): give more reviews, or a smaller k",
        )
    ]


def _apart(facts: Facts) -> Iterator[Cause]:
    tables, meeting = facts.tables, facts.tables.meeting
    if tables.items and tables.products and meeting.share < MEETING:
        yield Cause("ids_apart", f"{_how_many(facts)}{_one_of_each(facts)}: {_reason(facts)}.")


def _pictures_of_products(facts: Facts) -> bool:
    """Return whether the pictures of the reviews are most likely the products': the same for all users of an item."""
    tables = facts.tables
    return 0 < SAME * tables.photographed_items <= tables.items_of_one_picture


def _reason(facts: Facts) -> str:
    """Return the likely reason why ids do not meet, with the table of shop.toml that mends it; empty if unknown."""
    meeting = facts.tables.meeting
    if meeting.reason != "zeros_lost" or not meeting.reviewed or not meeting.product:
        return REASONS[meeting.reason]
    short, table = min((meeting.reviewed, "interactions"), (meeting.product, "products"), key=lambda each: len(each[0]))
    digits = max(len(meeting.reviewed), len(meeting.product))
    lost = "the reviews" if table == "interactions" else "the products"
    return (
        f"the ids of {lost} lost leading zeros, as when ids are read as numbers ({short!r}); write ids as text (in"
        f" pandas: read with dtype=str), or say in shop.toml how many digits they have: [{table}] width = {digits}"
    )


def _how_many(facts: Facts) -> str:
    tables = facts.tables
    met = round(tables.meeting.share * tables.items)
    return (
        f"{f'only {met:,}' if met else 'none'} of the {tables.items:,} reviewed ids"
        f" {'are' if met > 1 else 'is'} among the {tables.products:,} products"
    )


def _one_of_each(facts: Facts) -> str:
    meeting = facts.tables.meeting
    shown = {"the reviews have": meeting.reviewed, "the products": meeting.product}
    return "".join(f"; {words} {value!r}" for words, value in shown.items() if value)


def _no_picture(facts: Facts) -> Iterator[Cause]:
    if facts.tables.products and not facts.tables.with_picture:
        unusable = dropped(facts.product_lines.counts)
        why = f"unusable addresses: {unusable}" if unusable else "none gives an address"
        yield Cause(
            "no_picture",
            f"no product of {facts.tables.products:,} has a usable picture address ({why}). Give http(s) addresses or"
            " paths, or name the folder of the pictures in shop.toml.",
        )


def _few_pictured(facts: Facts, k: int) -> Iterator[Cause]:
    core, drawn = facts.tables.core(k), facts.tables.extent
    of_sample = f" of the {drawn.label}" if drawn and drawn.k == k else ""
    if not core.users_with_pictures:
        yield Cause(
            "no_pictured_user",
            f"no user{of_sample} has {k} items with a picture's address: of the {core.items:,} items of the"
            f" {core.users:,} users with {k} items, {core.items_with_picture:,} have one",
        )


def dropped(counts: Mapping[str, int]) -> str:
    """List the picture addresses that were dropped, and the products without a file of the pattern, by kind."""
    of_pictures = ("urls_", "pictures_")
    kinds = {name.partition("_")[2]: count for name, count in counts.items() if name.startswith(of_pictures) and count}
    kinds.pop("repeated", None)
    return ", ".join(f"{count:,} {unusable.words(kind)}" for kind, count in sorted(kinds.items()))


def of_reading(counts: Mapping[str, int], first: Mapping[str, str]) -> list[str]:
    """List what of the reviews could not be read or understood, with the first value or the column, and the mend.

    Args:
        counts: of reading the reviews (`ingest.Read.counts`).
        first: the places that belong to them (`ingest.Read.unread`).
    """

    def place(what: str) -> str:
        return f"; the first: {first[what]}" if what in first else ""

    found = [
        f"{count:,} {what} of reviews cannot be read{place(what)}"
        for what in ("times", "ratings")
        if (count := counts.get(f"{what}_not_read", 0))
    ]
    kinds = {name.removeprefix(KIND_COUNTED): n for name, n in counts.items() if name.startswith(KIND_COUNTED)}
    if len(kinds) > 1 or (kinds and counts.get("kinds_left_out")):
        become = "are left out" if counts.get("kinds_left_out") else "count as purchases"
        common = max(kinds, key=lambda value: kinds[value])
        positive = ", ".join(filter(None, (first.get("positive"), f'"{printable(common, 40)}"')))
        found.append(
            f"{first.get('kinds', 'the column of kinds')}: these kinds are not known and {become}: {listed(kinds)}; say"
            f' in shop.toml which count: [interactions] positive = [{positive}], ignored = ["..."]'
        )
    if count := counts.get("quantities_undone", 0):
        found.append(f"{count:,} rows have a quantity of zero or less and count as purchases{place('quantities')}")
    if count := counts.get("states_undone", 0):
        found.append(f"{count:,} rows were returned, refunded or cancelled and count as purchases{place('states')}")
    return found


def warnings(facts: Facts, k: int = 5) -> list[str]:
    """List what a person should look at before a run, the causes of a pointless one first."""
    tables = facts.tables
    stops = pointless(facts, k)
    found = [cause.text for cause in stops]
    found += _of_lines(facts)
    few = tables.items and tables.products and (tables.meeting.share < FEW_MEET or tables.meeting.reason)
    if few and all(cause.name != "ids_apart" for cause in stops):
        reason = f": {_reason(facts)}" if tables.meeting.reason else ""
        found.append(f"{_how_many(facts)} ({tables.meeting.share:.1%}){_one_of_each(facts)}{reason}")
    if _pictures_of_products(facts):
        found.append(
            f"of {tables.photographed_items:,} items that several users have pictures of,"
            f" {tables.items_of_one_picture:,} have the same for all: they are hardly the customers'"
            " photos. If they are the products' pictures, say in"
            ' shop.toml: [interactions] pictures = ""'
        )
    if tables.products and 0 < tables.with_picture < FEW_PICTURES * tables.products:
        found.append(f"only {tables.with_picture:,} of {tables.products:,} products have a usable picture address")
    if unusable := dropped(facts.product_lines.counts):
        found.append(f"picture addresses of products that cannot be used: {unusable}")
    if tables.reviews and tables.without_time > FEW_TIMES * tables.reviews:
        found.append(f"{tables.without_time:,} of {tables.reviews:,} reviews have no time that can be read")
    if tables.first_time is not None and not TIMES[0] <= tables.first_time <= (tables.last_time or 0) <= TIMES[1]:
        found.append(f"times lie outside of 1995 to 2100 ({tables.first_time} to {tables.last_time} s after 1970)")
    if facts.review_lines is not None:
        found += of_reading(facts.review_lines.counts, facts.review_lines.unread)
    if count := facts.product_lines.counts.get("prices_not_read", 0):
        found.append(f"{count:,} prices of products cannot be read")
    if tables.customers is not None and tables.customers.users_met < FEW_MEET * tables.users:
        found.append(f"only {tables.customers.users_met:,} of {tables.users:,} users are among the customers")
    return found


def _of_lines(facts: Facts) -> Iterator[str]:
    """Yield what a person should look at in the lines of each kind of file."""
    by_kind = {"review": facts.review_lines, "product": facts.product_lines, "customer": facts.customer_lines}
    for kind, lines in by_kind.items():
        if lines is None:
            continue
        if lines.reasons and lines.accepted:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in lines.reasons.items())
            rejected = sum(lines.reasons.values())
            words = "".join(f"; {reason}: {REJECTED[reason]}" for reason in lines.reasons if reason in REJECTED)
            yield f"{rejected:,} of {lines.lines:,} {kind} lines are rejected: {reasons}; {lines.first_reject}{words}"
        if count := lines.counts.get("values_not_utf8", 0):
            yield (
                f"{count:,} values of {kind}s are not UTF-8 and were read as cp1252; if they read wrong, say in"
                ' shop.toml how the text is encoded, for example encoding = "cp1251"'
            )
        if count := lines.counts.get("lines_not_utf8", 0):
            yield f"{count:,} {kind} lines have bytes that are not UTF-8; write the file as UTF-8"
