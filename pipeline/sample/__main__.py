"""Write the embedded catalogue, serve its pictures, or draw contact sheets: `python -m pipeline.sample`."""

import argparse
import threading
import time
from pathlib import Path

from rich.console import Console

from pipeline.core.errors import InputError
from pipeline.runtime.arguments import command_parser
from pipeline.runtime.exits import ended, leave
from pipeline.sample.catalogue import open_catalogue, write_catalogue
from pipeline.sample.server import PortInUseError, serve
from pipeline.sample.settings import SampleSettings
from pipeline.sample.sheet import write_sheet


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit code."""
    options = _parser().parse_args(arguments)

    def work() -> int:
        try:
            return options.run(options)
        except (PortInUseError, ValueError, FileExistsError, FileNotFoundError) as error:
            raise InputError(str(error.strerror if isinstance(error, PortInUseError) else error)) from error

    return ended(work, Console(stderr=True))


def _write(options: argparse.Namespace) -> int:
    chosen = {
        name: getattr(options, name)
        for name in ("seed", "items", "users", "port")
        if getattr(options, name) is not None
    }
    started = time.perf_counter()
    catalogue = write_catalogue(options.out, SampleSettings(**chosen))
    how = "already there" if catalogue.reused else f"written in {time.perf_counter() - started:.1f} s"
    print(f"{catalogue.folder}: {how}; best reachable AUC {catalogue.planted_auc:.4f}")
    print(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in catalogue.counts.items()))
    return 0


def _serve(options: argparse.Namespace) -> int:
    catalogue = open_catalogue(options.catalogue)
    port = catalogue.settings.port if options.port is None else options.port
    with serve(catalogue.folder, port) as address:
        print(f"serving {catalogue.counts['pictures']} pictures on {address.url} (Ctrl-C stops)", flush=True)
        if address.port != catalogue.settings.port:
            print(f"note: the catalogue's URLs use port {catalogue.settings.port}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 0
    return 0


def _sheet(options: argparse.Namespace) -> int:
    for path in write_sheet(options.out, options.seed):
        print(path)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("pipeline.sample", __doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    write = commands.add_parser("write", help="write reviews, metadata, pictures and the planted truth")
    write.add_argument("--out", type=Path, required=True, help="folder to write to: new, empty, or a catalogue")
    for name in ("seed", "items", "users", "port"):
        write.add_argument(f"--{name}", type=int, help=f"default {getattr(SampleSettings(), name)}")
    write.set_defaults(run=_write)
    server = commands.add_parser("serve", help="serve a catalogue's pictures on loopback")
    server.add_argument("--catalogue", type=Path, required=True, help="folder written by `write`")
    server.add_argument("--port", type=int, help="default: the port in the catalogue's URLs")
    server.set_defaults(run=_serve)
    sheet = commands.add_parser("sheet", help="draw contact sheets of the garments")
    sheet.add_argument("--out", type=Path, required=True, help="folder for the PNG files")
    sheet.add_argument("--seed", type=int, default=7)
    sheet.set_defaults(run=_sheet)
    return parser


if __name__ == "__main__":
    leave(main())
