"""`python -m pipeline.cli.capacity`: what a shop of some size asks of machines, and which stage gives out first.

Arithmetic over rates that were measured elsewhere (docs/speed.md; docs/capacity.md says which): nothing is run. The
pages' figures are this command's output; a test compares.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace

from rich.console import Console

from pipeline.runtime.exits import DONE, EXIT_CODES, ended, leave


@dataclass(frozen=True)
class Shop:
    """A data set's size. What no source gives is assumed; `assumed` names it."""

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
    """Measured, unless it says assumed; a worker is one core."""

    reviews_a_second: float = 925_000  # prepare: 10M in 10.8 s, two cores
    review_bytes: float = 122  # gzipped, as prepare's
    products_a_second: float = 33_000  # read_products with its classes, one core
    pictures_a_second: float = 11_953  # download: a worker, from loopback
    answer_seconds: float = 0.2  # of a host over a continent; assumed
    per_host: float = 16  # requests at once to one host (FetchSettings)
    picture_bytes: float = 10_000  # assumed; Amazon's 50 px ones have 2 kB, its large ones 40 kB and more
    decoded_a_second: float = 1_720  # decode: a core, 88 px
    side: float = 224  # pixels of the bank
    train_pictures_a_second: float = 425  # the published code on one GTX 1080 Ti; here no GPU has been measured
    epochs: float = 14
    k: float = 50  # latent factors
    pairs_a_second: float = 663e6  # evaluate: two cores
    gpu_hour: float = 2.5  # price, any currency; assumed
    core_hour: float = 0.05  # likewise


@dataclass(frozen=True)
class Machine:
    """Where the stages run."""

    memory: float = 64e9
    disk: float = 2e12
    workers: float = 16


@dataclass(frozen=True)
class Stage:
    """What one stage needs."""

    name: str
    seconds: float
    memory: float  # bytes of the largest process
    disk: float  # bytes
    gpu: bool


SHOPS = (
    Shop("2018 Fashion", 883_636, 186_627, 2_632, 17_173, 15_000, 38_053, "interactions (5.7 a user)"),
    Shop(
        "2018 Clothing", 32.3e6, 2.69e6, 1.22e6, 1.2e6, 11.3e6, 4.8e6,
        "items (those of the users with five reviews), four pictures an item",
    ),
    Shop(
        "2023 all", 571e6, 48e6, 27e6, 24e6, 380e6, 96e6,
        "half of the users and items in the 5-core with two thirds of the reviews, four pictures an item",
    ),
)  # fmt: skip

# By stage: seconds, bytes of memory of one process, bytes of disk. These texts are what is computed. Numbers in them
# are bytes a row, from the modules' own words or measured: docs/capacity.md.
FORMULAS = {
    "reviews, 5-core": (
        "reviews / reviews_a_second",
        "300e6 + 60 * interactions",
        "(review_bytes + 170) * reviews",
    ),
    "products": ("products / products_a_second", "400e6 + 240 * products", "650 * products"),
    "fetch, one host": (
        "pictures / min(per_host / answer_seconds, workers * pictures_a_second)",
        "200e6 + 600 * pictures",
        "picture_bytes * pictures",
    ),
    "bank": ("pictures / (workers * decoded_a_second)", "200e6 + 200 * pictures", "3 * side**2 * pictures"),
    "dvbpr (GPU)": (
        "2 * epochs * interactions * pictures / items / train_pictures_a_second",
        "12 * k * users",
        "4 * k * (users + 2 * items + pictures)",
    ),
    "evaluation": ("users * items / pairs_a_second", "4 * k * (users + items)", "100 * users"),
}


def stages(shop: Shop, rates: Rates, machine: Machine) -> list[Stage]:
    """Every stage that grows with the shop, in the order of the run."""
    names = {**vars(shop), **vars(rates), **vars(machine), "min": min}

    def value(formula: str) -> float:
        return float(eval(formula, {"__builtins__": {}}, names))

    return [Stage(name, *map(value, texts), gpu="GPU" in name) for name, texts in FORMULAS.items()]


def limits(found: list[Stage], machine: Machine) -> str:
    """The stage that asks most of the memory or disk there is (1: all of it), and the longest."""
    share, name, what = max(
        (asked / there, stage.name, what)
        for stage in found
        for asked, there, what in ((stage.memory, machine.memory, "memory"), (stage.disk, machine.disk, "disk"))
    )
    longest = max(found, key=lambda stage: stage.seconds)
    return f"{name}, which asks for {share:,.2g} of the {what}. Longest: {longest.name}, {_time(longest.seconds)}"


def formulas() -> Iterator[str]:
    """FORMULAS, as Markdown."""
    yield "| stage | seconds | memory | disk |"
    yield "|---|---|---|---|"
    for name, texts in FORMULAS.items():
        yield f"| {name} | " + " | ".join(f"`{text}`" for text in texts) + " |"


def page(shop: Shop, rates: Rates, machine: Machine) -> Iterator[str]:
    """The shop's table, as Markdown."""
    found = stages(shop, rates, machine)
    yield (
        f"**{shop.name}**: {_short(shop.reviews)} reviews, {_short(shop.products)} products; in the 5-core "
        f"{_short(shop.users)} users, {_short(shop.items)} items, {_short(shop.interactions)} interactions; "
        f"{_short(shop.pictures)} pictures." + (f" Assumed: {shop.assumed}." if shop.assumed else "")
    )
    yield ""
    yield "| stage | time | memory | disk | cost |"
    yield "|---|---:|---:|---:|---:|"
    for stage in found:
        hours = stage.seconds / 3600
        cost = hours * (rates.gpu_hour if stage.gpu else rates.core_hour * machine.workers)
        yield (
            f"| {stage.name} | {_time(stage.seconds)} | {_bytes(stage.memory)} | {_bytes(stage.disk)} | {cost:,.2f} |"
        )
    yield ""
    yield (
        f"Requests: {_short(shop.pictures)}, {_bytes(shop.pictures * rates.picture_bytes)}. "
        f"Gives out first: {limits(found, machine)}."
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
    """Three digits."""
    return f"{number:,.0f}" if number >= 100 else f"{number:,.3g}"


def main(arguments: list[str] | None = None) -> int:
    """Print the three known shops, or one of your own."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.cli.capacity",
        description=__doc__,
        epilog="Any size or rate can be set: --reviews 571e6 --pictures 96e6 --per-host 64 --memory 256e9 ...\n\n"
        + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    groups: dict[type, Shop | Rates | Machine] = {Shop: SHOPS[-1], Rates: Rates(), Machine: Machine()}
    names = {
        kind: [name for name, value in vars(given).items() if isinstance(value, float | int)]
        for kind, given in groups.items()
    }
    for kind, given in groups.items():
        for name in names[kind]:
            parser.add_argument(
                f"--{name.replace('_', '-')}",
                type=float,
                metavar="N",
                help=f"{kind.__name__.lower()}; {given.__dict__[name]:g}",
            )
    options = vars(parser.parse_args(arguments))
    wrong = [name for name, value in options.items() if value is not None and not value > 0]
    if wrong:
        parser.error(f"{', '.join(wrong)}: must be above 0")
    said = {kind: {name: options[name] for name in names[kind] if options[name] is not None} for kind in groups}
    rates, machine = replace(Rates(), **said[Rates]), replace(Machine(), **said[Machine])
    shops = [replace(SHOPS[-1], name="yours", assumed="what you left out is that of 2023 all", **said[Shop])]

    def work() -> int:
        print(*formulas(), sep="\n")
        for shop in shops if said[Shop] else SHOPS:
            print("", *page(shop, rates, machine), sep="\n")
        return DONE

    return ended(work, Console(stderr=True))


if __name__ == "__main__":
    leave(main())
