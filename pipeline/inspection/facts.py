"""Hold what is known of a shop's files: rows, ids that meet, pictures, times, duplicates, the size of each k-core.

The files are measured in `measuring.py`, their tables in `table_facts.py`; judging them belongs in `causes.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.core.dataset.extent import Extent

KS = (2, 3, 5, 10)


@dataclass(frozen=True)
class FileFacts:
    """A file: what it was taken for, its size on disk, the names in its first row, and that row, escaped and cut."""

    kind: str  # reviews, products or customers
    path: str
    layout: str | None
    bytes: int
    rejected: int
    columns: tuple[str, ...]
    sample: str


@dataclass(frozen=True)
class LineCounts:
    """How the lines of a kind of file were read; `first_reject` is `file:line: its text` of the commonest reason."""

    lines: int
    accepted: int
    reasons: Mapping[str, int] = field(default_factory=dict)  # of rejected lines, the commonest first
    first_reject: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)  # repairs and dropped values (`urls_relative`, ...)
    unread: Mapping[str, str] = field(default_factory=dict)  # of what could not be read, the first value


@dataclass(frozen=True)
class Core:
    """The users with k distinct items, what they reviewed, and what of it has a picture's address."""

    users: int
    items: int
    interactions: int
    items_with_picture: int  # of the shop
    users_with_pictures: int  # with k items that have a picture, the shop's or a customer's
    users_by_customers: int  # with k items that a customer photographed


@dataclass(frozen=True)
class Meeting:
    """How reviewed ids and products' ids meet, with one of each where hardly any does."""

    share: float  # of the reviewed ids, those among the products
    reason: str = ""  # a key of SPOILED, "swapped", or "" if none is likely
    reviewed: str | None = None
    product: str | None = None


@dataclass(frozen=True)
class AttributeFacts:
    """How many rows have an attribute, and some of its values, escaped and cut."""

    rows: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class CustomerFacts:
    """What a table of customers holds."""

    customers: int
    users_met: int  # of the users of the reviews, those among the customers
    attributes: Mapping[str, AttributeFacts] = field(default_factory=dict)


@dataclass(frozen=True)
class TableFacts:
    """What the tables of reviews and products hold."""

    reviews: int
    users: int
    items: int
    pairs: int
    first_time: int | None
    last_time: int | None
    without_time: int
    with_customer_picture: int  # reviews
    products: int
    with_title: int
    with_category: int
    with_picture: int
    cores: Mapping[int, Core]
    meeting: Meeting
    photographed_items: int = 0  # that several users have pictures of; counted only where most reviews have pictures
    items_of_one_picture: int = 0  # of these, those whose reviews all have the same pictures
    with_price: int = 0
    attributes: Mapping[str, AttributeFacts] = field(default_factory=dict)  # of products, the commonest first
    customers: CustomerFacts | None = None
    extent: Extent | None = None  # of the sample that a run would draw; None: it would take all users
    sampled: Core | None = None  # what the sample would leave, with the extent's k

    def core(self, k: int) -> Core:
        """Return the predicted core of this k, within the sample if one would be drawn with this k."""
        drawn = self.sampled is not None and self.extent is not None and self.extent.k == k
        return self.sampled if drawn and self.sampled is not None else self.cores[k]

    @property
    def predicted(self) -> dict[str, Core]:
        """Return every predicted core by k, and by its label that of the sample."""
        found = {str(k): core for k, core in self.cores.items()}
        return {**found, self.extent.label: self.sampled} if self.extent and self.sampled else found

    @property
    def duplicates(self) -> int:
        """Count the reviews that repeat a user's item."""
        return self.reviews - self.pairs


@dataclass(frozen=True)
class Facts:
    """Everything that is known of a shop's files; without reviews, `review_lines` is None."""

    files: tuple[FileFacts, ...]
    review_lines: LineCounts | None
    product_lines: LineCounts
    tables: TableFacts
    understood: tuple[str, ...] = ()  # what the columns of tables were taken for
    customer_lines: LineCounts | None = None

    @property
    def layout(self) -> dict[str, str]:
        """Name the layout of each file."""
        return {file.path: file.layout for file in self.files if file.layout}
