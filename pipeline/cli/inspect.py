"""`atelier inspect`: say in seconds what a shop's files hold, how they were understood, and what would come of them.

The files are read as a run would read them, into a temporary folder; nothing is written to a home. Picture addresses
are asked for only with --ask.
"""

import argparse
import contextlib
import json
import tempfile
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.cli.capacity import FETCH, LOCAL, Machine, Rates, Workload, stages
from pipeline.core.dataset.extent import Sample
from pipeline.core.durable import write_whole
from pipeline.core.errors import InputError
from pipeline.core.local_address import is_local
from pipeline.core.raw import remote, sources
from pipeline.core.raw.copies import origin_folder
from pipeline.core.raw.shop_tables import recognised
from pipeline.core.shop.mapping import Shop
from pipeline.core.shop.written import write_to_edit
from pipeline.home import environment
from pipeline.inspection.facts import KS, Facts
from pipeline.inspection.measuring import measure
from pipeline.inspection.pictures import look, sampled
from pipeline.inspection.report import Estimate, Inspection, as_json, rows
from pipeline.runtime.arguments import command_parser
from pipeline.runtime.exits import DONE, EXIT_CODES, ended, leave

FILES = """\
FILES are paths, globs, folders, http(s):// or s3:// URLs, or tables of databases, with commas between:
  sqlite:////path/shop.db?table=NAME, or the path of a .db or .sqlite file that has one table
  postgresql://user:password@host/database?table=NAME, in the environment or with PGPASSWORD: other users can see the
  arguments of a command"""
PREDICTED = ("reviews, 5-core", "products", FETCH, LOCAL, "bank")  # the stages that need no model


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = command_parser("pipeline.cli.inspect", __doc__, f"{FILES}\n\n{EXIT_CODES}")
    parser.add_argument("--reviews", default="", metavar="FILES", help="the reviews (default: ATELIER_REVIEWS)")
    parser.add_argument("--products", default="", metavar="FILES", help="the products (default: ATELIER_PRODUCTS)")
    parser.add_argument("--customers", default="", metavar="FILES", help="customers (default: ATELIER_CUSTOMERS)")
    parser.add_argument("--shop", default="", metavar="FILE", help="a shop.toml (default: ATELIER_SHOP)")
    parser.add_argument("--min-interactions", type=int, default=5, metavar="K", help="distinct items a user needs")
    parser.add_argument("--users", type=int, default=None, metavar="N", help="predict for a sample of so many users")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the sample (default: 0)")
    parser.add_argument("--ask", action="store_true", help="fetch the sampled pictures, and inputs on servers")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page, with the pictures")
    parser.add_argument(
        "--toml", type=Path, metavar="FILE", help="write how tables were understood: a shop.toml to edit"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON, for machines")
    options = parser.parse_args(argv)
    if options.min_interactions < 1:
        parser.error("--min-interactions must be at least 1")
    if options.users is not None and options.users < 1:
        parser.error("--users must be at least 1")

    def work() -> int:
        for option in ("html", "toml"):
            _check_target(f"--{option}", getattr(options, option))
        found = inspected(options)
        if options.html:
            from pipeline.inspection.page import html

            page = html(found)
            write_whole(options.html.expanduser(), lambda path: path.write_text(page, "utf-8"))
        if options.toml:
            if not found.toml:
                raise InputError("--toml: no file is a table, and the keys of JSON reviews need no shop.toml")
            write_to_edit(options.toml.expanduser(), found.toml)
        if options.json:
            print(json.dumps(as_json(found), indent=2))
        else:
            show(found, Console())
        return DONE

    return ended(work, Console(stderr=True))


def inspected(options: argparse.Namespace) -> Inspection:
    """Read the files and look at a sample of pictures. Raises InputError if they cannot be read."""
    k = options.min_interactions
    named = {
        "reviews": options.reviews or environment.reviews(),
        "products": options.products or environment.products(),
        "customers": options.customers or environment.customers(),
    }
    if not named["products"]:
        raise InputError("no product metadata: give --products, or set ATELIER_PRODUCTS, to a path, glob or folder")
    allowed = environment.allowed_hosts()
    chosen: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory(prefix="atelier-inspect-") as folder, contextlib.ExitStack() as busy:

        def fetched(url: str) -> list[Path]:
            settings = remote.RemoteSettings(allow_hosts=allowed)
            if not options.ask and sources.is_far(url):
                shown = sources.shown(url)
                raise InputError(f"{shown}: is on a server; --ask fetches it. Or give a local file")
            return [remote.fetch_to_cache(one, Path(folder), settings) for one in remote.expanded(url, settings)]

        files = {kind: sources.resolve(spec, fetched) if spec else [] for kind, spec in named.items()}
        if not options.json:
            busy.enter_context(Console(stderr=True).status("reading the files"))
        ks = sorted({*KS, k})
        named_shop = options.shop or environment.shop()
        given = Shop.of(Path(named_shop).expanduser()) if named_shop else None
        shop = recognised(files["reviews"], files["products"], given, files["customers"])
        facts = measure(
            files["reviews"],
            files["products"],
            ks=ks,
            shop=shop,
            look=lambda path: chosen.extend(sampled(path)),
            customers=files["customers"],
            draw=(k, Sample(options.users, options.seed)) if options.users else None,
        )
        folders = {str(base) for path in files["products"] if (base := origin_folder(path))}
        folders |= set(shop.pictures.folders) if shop else set()
        pictures = look(chosen, folders, options.ask, allowed)
    local = bool(chosen) and all(is_local(address) for _, _, address in chosen)
    hidden = tuple(sources.hidden_files(*named.values()))
    return Inspection(facts, tuple(pictures), estimated(facts, k, local), k, shop.toml() if shop else "", hidden)


def _check_target(option: str, named: Path | None) -> None:
    """Raise InputError, before any work, if the file that an option names cannot be written."""
    if named is None:
        return
    path = named.expanduser()
    if path.is_dir():
        raise InputError(f"{option}: {path} is a folder; name a file in it, such as {path / f'shop.{option[2:]}'}")
    if not path.parent.is_dir():
        raise InputError(f"{option}: {path}: there is no folder {path.parent}; make it, or name another")


def estimated(facts: Facts, k: int, local: bool) -> tuple[Estimate, ...]:
    """Estimate time and disk of the stages up to the decoded pictures, by the rates of `atelier capacity`.

    `local` says that the pictures are files, so that no host is waited for.
    """
    tables, core = facts.tables, facts.tables.core(k)
    pictures = core.items_with_picture
    items = max(1, core.items)  # a rate is a figure for each item
    shop = Workload("yours", tables.reviews, tables.products, core.users, items, core.interactions, pictures)
    return tuple(
        Estimate(stage.name, stage.seconds, stage.disk)
        for stage in stages(shop, Rates(), Machine(), local)
        if stage.name in PREDICTED
    )


def show(found: Inspection, console: Console) -> None:
    """Print an inspection."""
    facts = found.facts
    for line in facts.understood:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for file in facts.files:
        layout = f", layout {file.layout}" if file.layout else ""
        rejected = f", {file.rejected:,} lines rejected" if file.rejected else ""
        console.print(
            f"[bold]{escape(file.path)}[/]: {file.kind}{layout}, {file.bytes:,} bytes{rejected}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
        if file.columns:
            console.print(f"  columns: {escape(', '.join(file.columns))}", highlight=False, soft_wrap=True)
        if file.sample:
            console.print(f"  {escape(file.sample)}", highlight=False, soft_wrap=True, style="dim")
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in rows(found):
        table.add_row(name, escape(value))
    console.print(table)
    if facts.review_lines is not None:
        console.print(_cores(facts))
        if facts.tables.extent is not None and (core := facts.tables.sampled) is not None:
            counts = f"{core.users:,} users, {core.items:,} items, {core.interactions:,} pairs"
            pictured = f"{core.items_with_picture:,} items with a shop's picture"
            console.print(f"{facts.tables.extent.label}: {counts}, {pictured}", highlight=False, soft_wrap=True)
    if found.estimates:
        total = ", ".join(f"{one.stage} {one.seconds:,.0f} s and {one.disk / 1e6:,.0f} MB" for one in found.estimates)
        console.print(f"expected (see atelier capacity): {total}", highlight=False, soft_wrap=True)
    for warning in found.warnings:
        console.print(f"[yellow]![/] {escape(warning)}", highlight=False, soft_wrap=True)


def _cores(facts: Facts) -> Table:
    table = Table(title="with k items a user", title_justify="left", title_style="bold")
    for column in ("k", "users", "items", "pairs", "items with a shop's picture", "users with k pictured items"):
        table.add_column(column, justify="right")
    for k, core in facts.tables.cores.items():
        cells = (core.users, core.items, core.interactions, core.items_with_picture, core.users_with_pictures)
        table.add_row(f"{k:,}", *(f"{cell:,}" for cell in cells))
    return table


if __name__ == "__main__":
    leave(main())
