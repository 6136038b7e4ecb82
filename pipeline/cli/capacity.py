"""`python -m pipeline.cli.capacity`: estimate time, memory and disk for a shop, and find the stage that limits it.

Arithmetic over rates measured elsewhere (docs/speed.md; docs/capacity.md says which): nothing is run. The figures of
docs/capacity.md are this command's output. Tests compare both pages with the code.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from rich.console import Console

from pipeline.runtime.arguments import command_parser
from pipeline.runtime.exits import DONE, EXIT_CODES, ended, leave


@dataclass(frozen=True)
class Workload:
    """A data set's size. `assumed` names the numbers that no source gives."""

    name: str
    reviews: float
    products: float
    users: float  # of the 5-core
    items: float  # of the 5-core
    interactions: float
    pictures: float  # of the 5-core's items, fetched and in the bank
    assumed: str = ""


@dataclass(frozen=True)
class Rates:
    """Speeds, sizes and prices, measured unless the comment says assumed. A worker is one core."""

    reviews_a_second: float = 230_000  # prepare: 1M in 4.3 s, two cores
    review_bytes: float = 122  # gzipped, in the benchmark `prepare`
    products_a_second: float = 33_000  # read_products with its classes, one core
    pictures_a_second: float = 4_503  # download: one worker, from loopback
    local_pictures_a_second: float = 18_000  # local_pictures: two cores, whatever their number
    answer_seconds: float = 0.2  # assumed: a host on another continent
    per_host: float = 16  # concurrent requests to one host (FetchSettings)
    picture_bytes: float = 10_000  # assumed; Amazon's 50 px pictures have 2 kB, its large ones 40 kB and more
    decoded_a_second: float = 1_720  # decode: 3,440 on two cores, 88 px
    side: float = 224  # pixels of a picture's side in the bank
    train_pictures_a_second: float = 425  # the published code on one GTX 1080 Ti; no GPU has been measured here
    epochs: float = 14
    k: float = 50  # latent factors
    pairs_a_second: float = 663e6  # evaluate: two cores
    gpu_hour: float = 2.5  # assumed; price in any currency
    core_hour: float = 0.05  # assumed; price in the same currency


@dataclass(frozen=True)
class Machine:
    """The machine that the stages run on: bytes of memory and disk, and cores."""

    memory: float = 64e9
    disk: float = 2e12
    workers: float = 16


@dataclass(frozen=True)
class Stage:
    """The estimate for one stage."""

    name: str
    seconds: float
    memory: float  # bytes of the largest process
    disk: float  # bytes
    gpu: bool


SHOPS = (
    Workload("2018 Fashion", 883_636, 186_627, 2_632, 17_173, 15_000, 38_053, "interactions (5.7 a user)"),
    Workload(
        "2018 Clothing", 32.3e6, 2.69e6, 1.22e6, 1.2e6, 11.3e6, 4.8e6,
        "items (those of the users with five reviews), four pictures an item",
    ),
    Workload(
        "2023 all", 571e6, 48e6, 27e6, 24e6, 380e6, 96e6,
        "half of the users and items in the 5-core with two thirds of the reviews, four pictures an item",
    ),
)  # fmt: skip

# Pictures come from a host or from files.
FETCH, LOCAL = "fetch, one host", "pictures from files"
# By stage: seconds, bytes of memory of one process, bytes of disk. These texts are evaluated and printed. The numbers
# in them are bytes a row, documented in the modules or measured (docs/capacity.md).
FORMULAS = {
    "reviews, 5-core": (
        "reviews / reviews_a_second",
        "300e6 + 60 * interactions",
        "(review_bytes + 170) * reviews",
    ),
    "products": ("products / products_a_second", "400e6 + 240 * products", "650 * products"),
    FETCH: (
        "pictures / min(per_host / answer_seconds, workers * pictures_a_second)",
        "200e6 + 600 * pictures",
        "picture_bytes * pictures",
    ),
    LOCAL: ("pictures / local_pictures_a_second", "200e6 + 600 * pictures", "picture_bytes * pictures"),
    "bank": ("pictures / (workers * decoded_a_second)", "200e6 + 200 * pictures", "3 * side**2 * pictures"),
    "dvbpr (GPU)": (
        "2 * epochs * interactions * pictures / items / train_pictures_a_second",
        "12 * k * users",
        "4 * k * (users + 2 * items + pictures)",
    ),
    "evaluation": ("users * items / pairs_a_second", "4 * k * (users + items)", "100 * users"),
}


def stages(shop: Workload, rates: Rates, machine: Machine, local: bool = False) -> list[Stage]:
    """Estimate every stage that grows with the shop, in the order of the run; `local` pictures are files."""
    names = {**vars(shop), **vars(rates), **vars(machine), "min": min}
    unused = FETCH if local else LOCAL

    def value(formula: str) -> float:
        return float(eval(formula, {"__builtins__": {}}, names))

    return [Stage(name, *map(value, texts), gpu="GPU" in name) for name, texts in FORMULAS.items() if name != unused]


def bottlenecks(estimated: list[Stage], machine: Machine) -> str:
    """Name the stage that needs the largest share of the machine's memory or disk, and the longest stage."""
    share, name, resource = max(
        (needed / available, stage.name, resource)
        for stage in estimated
        for needed, available, resource in (
            (stage.memory, machine.memory, "memory"),
            (stage.disk, machine.disk, "disk"),
        )
    )
    longest = max(estimated, key=lambda stage: stage.seconds)
    if share > 1:
        limit = f"The {resource} is full first: {name} needs {share:,.2g} times its size"
    else:
        limit = f"Everything fits: the largest share is {share:,.2g} of the {resource}, for {name}"
    return f"{limit}. The longest stage is {longest.name}, {_time(longest.seconds)}"


def formulas() -> Iterator[str]:
    """Format FORMULAS as a Markdown table, line by line."""
    yield "| stage | seconds | memory | disk |"
    yield "|---|---|---|---|"
    for name, texts in FORMULAS.items():
        yield f"| {name} | " + " | ".join(f"`{text}`" for text in texts) + " |"


def page(shop: Workload, rates: Rates, machine: Machine) -> Iterator[str]:
    """Format the shop's estimates as Markdown, line by line."""
    estimated = stages(shop, rates, machine)
    yield (
        f"**{shop.name}**: {_short(shop.reviews)} reviews, {_short(shop.products)} products; in the 5-core "
        f"{_short(shop.users)} users, {_short(shop.items)} items, {_short(shop.interactions)} interactions; "
        f"{_short(shop.pictures)} pictures." + (f" Assumed: {shop.assumed}." if shop.assumed else "")
    )
    yield ""
    yield "| stage | time | memory | disk | cost |"
    yield "|---|---:|---:|---:|---:|"
    for stage in estimated:
        hours = stage.seconds / 3600
        cost = hours * (rates.gpu_hour if stage.gpu else rates.core_hour * machine.workers)
        yield (
            f"| {stage.name} | {_time(stage.seconds)} | {_bytes(stage.memory)} | {_bytes(stage.disk)} | {cost:,.2f} |"
        )
    yield ""
    yield (
        f"Requests: {_short(shop.pictures)}, {_bytes(shop.pictures * rates.picture_bytes)}. "
        f"{bottlenecks(estimated, machine)}."
    )


def _short(number: float) -> str:
    if number < 1e6:
        return f"{number:,.0f}"
    return f"{number / 1e6:,.4g} M"


def _bytes(number: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= size:
            return f"{_three(number / size)} {unit}"
    return f"{_three(number / 1e3)} kB"


def _time(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{_three(seconds / size)} {unit}"
    return f"{_three(seconds)} s"


def _three(number: float) -> str:
    """Format a number with three significant digits."""
    return f"{number:,.0f}" if number >= 100 else f"{number:,.3g}"


def main(arguments: list[str] | None = None) -> int:
    """Print the estimates for the three known shops, or for the shop given by the arguments; return the exit code."""
    epilog = "Any size or rate can be set: --reviews 571e6 --pictures 96e6 --per-host 64 --memory 256e9 ...\n\n"
    parser = command_parser("pipeline.cli.capacity", __doc__, epilog + EXIT_CODES)
    groups: dict[type, Workload | Rates | Machine] = {Workload: SHOPS[-1], Rates: Rates(), Machine: Machine()}
    names = {
        kind: [name for name, value in vars(defaults).items() if isinstance(value, float | int)]
        for kind, defaults in groups.items()
    }
    for kind, defaults in groups.items():
        for name in names[kind]:
            parser.add_argument(
                f"--{name.replace('_', '-')}",
                type=float,
                metavar="N",
                help=f"{kind.__name__.lower()}; default {vars(defaults)[name]:g}",
            )
    options = vars(parser.parse_args(arguments))
    wrong = [name for name, value in options.items() if value is not None and not value > 0]
    if wrong:
        parser.error(f"{', '.join(wrong)}: must be above 0")
    given = {kind: {name: options[name] for name in names[kind] if options[name] is not None} for kind in groups}
    rates, machine = replace(Rates(), **given[Rates]), replace(Machine(), **given[Machine])
    shops = [replace(SHOPS[-1], name="yours", assumed="what you left out is that of 2023 all", **given[Workload])]

    def work() -> int:
        print(*formulas(), sep="\n")
        for shop in shops if given[Workload] else SHOPS:
            print("", *page(shop, rates, machine), sep="\n")
        return DONE

    return ended(work, Console(stderr=True))


if __name__ == "__main__":
    leave(main())
