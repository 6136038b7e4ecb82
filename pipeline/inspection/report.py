"""Put an inspection into words for the terminal and the page, and into plain values for machines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.core.quoting import printable
from pipeline.inspection.causes import warnings
from pipeline.inspection.facts import AttributeFacts, Facts
from pipeline.inspection.pictures import NOT_ASKED, Sampled, mend_of


@dataclass(frozen=True)
class Estimate:
    """What a stage of a run would take: seconds, and bytes of disk."""

    stage: str
    seconds: float
    disk: float


@dataclass(frozen=True)
class Inspection:
    """The facts about a shop's files, the sample of its pictures, what a run would take, and what to look at."""

    facts: Facts
    pictures: tuple[Sampled, ...] = ()
    estimates: tuple[Estimate, ...] = ()
    k: int = 5
    toml: str = ""  # the text of a shop.toml; empty where no file is a table
    hidden: tuple[str, ...] = ()  # a sentence on each hidden file that was skipped

    @property
    def warnings(self) -> list[str]:
        """List what a person should look at, causes of a pointless run first."""
        found = warnings(self.facts, self.k)
        bad = [one for one in self.pictures if one.outcome not in ("ok", NOT_ASKED)]
        if bad:
            mend = mend_of(bad[0])
            first = f"{bad[0].address}: {bad[0].outcome}{f' ({mend})' if mend else ''}"
            found.append(f"{len(bad)} of {len(self.pictures)} sampled pictures cannot be used; the first is {first}")
        return [*found, *self.hidden]


def rows(found: Inspection) -> Iterator[tuple[str, str]]:
    """Yield each measured figure with its name."""
    facts, tables = found.facts, found.facts.tables
    if facts.review_lines is not None:
        lines = facts.review_lines
        yield "reviews", f"{lines.accepted:,} of {lines.lines:,} lines"
        yield "users, items, pairs", f"{tables.users:,}, {tables.items:,}, {tables.pairs:,}"
        yield "reviews that repeat a pair", f"{tables.duplicates:,}"
        repeated = lines.counts.get("repeated_across_files", 0)
        yield "reviews that repeat another file's", f"{repeated:,}"
        yield "time", time_range(facts)
        yield "reviews with a customer's picture", f"{tables.with_customer_picture:,}"
        yield "reviewed ids among the products", f"{tables.meeting.share:.1%}"
    lines = facts.product_lines
    yield "products", f"{tables.products:,} of {lines.lines:,} lines"
    yield "lines that repeat a product", f"{lines.counts.get('repeated_asin', 0):,}"
    for words, count in (
        ("products with a title", tables.with_title),
        ("products with a category", tables.with_category),
        ("products with a picture's address", tables.with_picture),
        ("products with a price", tables.with_price),
    ):
        yield words, f"{count / max(1, tables.products):.1%}"
    yield from _attributes("products", tables.attributes, tables.products)
    if tables.customers is not None and facts.customer_lines is not None:
        customers = tables.customers
        yield "customers", f"{customers.customers:,} of {facts.customer_lines.lines:,} lines"
        if facts.review_lines is not None:
            yield "users among the customers", f"{customers.users_met / max(1, tables.users):.1%}"
        yield from _attributes("customers", customers.attributes, customers.customers)
    if found.pictures:
        yield "sampled pictures", pictures_looked_at(found.pictures)


def _attributes(what: str, found: Mapping[str, AttributeFacts], rows: int) -> Iterator[tuple[str, str]]:
    for name, attribute in found.items():
        share = f"{attribute.rows / max(1, rows):.1%}"
        examples = f", for example {', '.join(attribute.examples)}" if attribute.examples else ""
        yield f"{what} with {printable(name, 40)}", share + examples


def pictures_looked_at(pictures: Sequence[Sampled]) -> str:
    """Count the sampled pictures by outcome."""
    outcomes = [one.outcome for one in pictures]
    counted = ", ".join(f"{outcomes.count(each)} {each}" for each in dict.fromkeys(sorted(outcomes)))
    return f"{counted}; --ask asks for them" if NOT_ASKED in outcomes else counted


def time_range(facts: Facts) -> str:
    """Format the first and the last time of the reviews."""
    tables = facts.tables
    if tables.first_time is None or tables.last_time is None:
        return "none that can be read"
    missing = f"; {tables.without_time:,} without" if tables.without_time else ""
    return f"{_day(tables.first_time)} to {_day(tables.last_time)} in UTC{_by_size(facts)}{missing}"


def _by_size(facts: Facts) -> str:
    """Say that the size of numbers decided their unit, unless a format of times is named or was understood."""
    return "" if any("time_unit" in line for line in facts.understood) else "; units by their size"


def _day(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
    except (ValueError, OverflowError, OSError):
        return f"{seconds:,} s after 1970"


def as_json(found: Inspection) -> dict[str, Any]:
    """Convert an inspection to plain values."""
    facts, tables = found.facts, found.facts.tables
    by_kind = {"reviews": facts.review_lines, "products": facts.product_lines, "customers": facts.customer_lines}
    return {
        "users": tables.users,
        "items": tables.items,
        "pairs": tables.pairs,
        "reviews": tables.reviews,
        "products": tables.products,
        "duplicate_reviews": tables.duplicates,
        "ids_meeting_share": round(tables.meeting.share, 6),
        "title_share": _share(tables.with_title, tables.products),
        "category_share": _share(tables.with_category, tables.products),
        "picture_share": _share(tables.with_picture, tables.products),
        "price_share": _share(tables.with_price, tables.products),
        "attributes": _attribute_values(tables.attributes, tables.products),
        "customers": tables.customers
        and {
            "customers": tables.customers.customers,
            "users_meeting_share": _share(tables.customers.users_met, tables.users),
            "attributes": _attribute_values(tables.customers.attributes, tables.customers.customers),
        },
        "reviews_with_picture": tables.with_customer_picture,
        "first_time": tables.first_time,
        "last_time": tables.last_time,
        "reviews_without_time": tables.without_time,
        "core": {str(k): vars(core) for k, core in tables.cores.items()},
        "sample": {"extent": tables.extent.label, **vars(tables.sampled)} if tables.extent and tables.sampled else None,
        "layout": facts.layout,
        "understood": list(facts.understood),
        "warnings": found.warnings,
        "files": [{**vars(file), "columns": list(file.columns)} for file in facts.files],
        "rejected": {kind: dict(lines.reasons) for kind, lines in by_kind.items() if lines is not None},
        "counts": {kind: dict(lines.counts) for kind, lines in by_kind.items() if lines is not None},
        "pictures": [{"asin": p.asin, "address": p.address, "outcome": p.outcome} for p in found.pictures],
        "expected": [vars(one) for one in found.estimates],
    }


def _attribute_values(found: Mapping[str, AttributeFacts], rows: int) -> dict[str, Any]:
    return {name: {"share": _share(one.rows, rows), "examples": list(one.examples)} for name, one in found.items()}


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0
