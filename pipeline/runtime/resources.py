"""The resources of a run besides storage, method and tracking: raw sources, fetcher, engine and device.

The environment is read once, when the definitions are built.
"""

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from upath import UPath

from pipeline.core import engine
from pipeline.core.erasure import Erasures
from pipeline.core.errors import InputError
from pipeline.core.generator.garment_classes import Rules, built_in, load_rules
from pipeline.core.images.fetch import FetchProgress, FetchReport, fetch
from pipeline.core.images.fetch_plan import FetchPlan, plan_fetch
from pipeline.core.images.ledger import PictureStore
from pipeline.core.images.transfer import FetchSettings
from pipeline.core.raw import passed_over, remote, sources
from pipeline.core.raw.addresses import table_folders
from pipeline.core.raw.passed_over import GivenUp
from pipeline.core.shards import Runner
from pipeline.core.shop.mapping import Shop
from pipeline.core.shop.written import refuse_ignored
from pipeline.home import environment
from pipeline.home.io_managers import ParquetTables
from pipeline.home.storage import Storage
from pipeline.runtime.progress import LOG_EVERY, Report, terminal
from pipeline.runtime.tracking import Tracker
from pipeline.settings.method import Method

if TYPE_CHECKING:
    import torch


NOT_FILES = ("erased", "pictures", "shop")  # marks of what else decides which rows the files yield


class RawSources(dg.ConfigurableResource):
    """The raw files, local, at URLs, in buckets, or tables of databases.

    `reviews`, `products` and `customers` are stored without queries and passwords (`sources.shown_spec`), because
    Dagster stores a resource's configuration with every run. The full addresses come from the environment.
    """

    reviews: str = ""
    products: str = ""
    customers: str = ""
    shop: str = ""  # shop.toml: what the columns of tables mean; empty: they are recognised
    classes: str = ""  # TOML file of garment classes; empty: the built-in ones
    cache: str = ""  # folder for downloads; empty: URLs are refused
    allow_hosts: list[str] = []  # noqa: RUF012  (a pydantic field)
    licence: str = ""  # of the data, in the user's words
    home: str = ""  # the home, whose list of erasures filters what is read; empty: no filter

    def review_files(self) -> list[Path]:
        """Find the review files; download those that the cache lacks or has in an old version. Empty without reviews.

        Raises:
            InputError: a file is missing, empty or cannot be downloaded.
        """
        with _naming_variable("ATELIER_REVIEWS"):
            return self._files("raw_reviews", self._reviews()) if self.reviews else []

    def product_files(self) -> list[Path]:
        """Find the metadata files; download as `review_files` does.

        Raises:
            InputError: none are configured, or one is missing, empty or cannot be downloaded.
        """
        with _naming_variable("ATELIER_PRODUCTS"):
            return self._files("raw_products", self._products())

    def customer_files(self) -> list[Path]:
        """Find the files of customers; download as `review_files` does. Empty without customers."""
        with _naming_variable("ATELIER_CUSTOMERS"):
            return self._files("raw_customers", self._customers()) if self.customers else []

    def shop_layout(
        self, reviews: Sequence[Path], products: Sequence[Path], customers: Sequence[Path] = ()
    ) -> Shop | None:
        """Read shop.toml and complete it by what is recognised in the files; None for JSON without a shop.toml.

        Raises:
            InputError: shop.toml is wrong, a file is of a kind that is not read, or it is unclear what columns mean.
        """
        # Imported here: a module with a resource outlives DuckDB's at the end, which then prints what it leaked.
        from pipeline.core.raw.shop_tables import recognised

        return recognised(reviews, products, self._shop_file(), customers)

    def picture_folders(self) -> tuple[str, ...]:
        """List the folders that pictures may be read from: those of the tables, and those that shop.toml names."""
        shop = self._shop_file()
        return (*table_folders(self.reviews, self.products), *(shop.pictures.folders if shop else ()))

    def _shop_file(self) -> Shop | None:
        if not self.shop:
            if self.home:
                refuse_ignored(Path(self.home))
            return None
        return Shop.of(Path(self.shop).expanduser())

    def review_version(self) -> str:
        """Compute the version of the review files: from digests of local files, servers' versions, tables' rows."""
        with _naming_variable("ATELIER_REVIEWS"):
            return self._version("raw_reviews", self._reviews()) if self.reviews else sources.digest([])

    def product_version(self) -> str:
        """Compute the version of the metadata files. Raises InputError as `product_files` does."""
        with _naming_variable("ATELIER_PRODUCTS"):
            version = self._version("raw_products", self._products())
        listed = self._listed_pictures()
        return hashlib.sha256(f"{version} {listed}".encode()).hexdigest() if listed else version

    def _listed_pictures(self) -> str:
        """Return a text that changes when a pattern of pictures may match other files; empty without such a pattern."""
        from pipeline.core.raw.shop_tables import listed_pictures  # late, as in `shop_layout`

        tables = [entry for entry in sources.named(self._products()) if isinstance(entry, Path)]
        return listed_pictures(tables, self._shop_file())

    def customer_version(self) -> str:
        """Compute the version of the files of customers. Raises InputError as `customer_files` does."""
        with _naming_variable("ATELIER_CUSTOMERS"):
            return self._version("raw_customers", self._customers()) if self.customers else sources.digest([])

    def marks(self, chosen_classes: str = "") -> dict[str, dict[str, str]]:
        """Collect a mark for each file of each source asset, without reading or downloading the file.

        A mark is the size and date of a local file, the server's version of a URL, a database's counts of changes, or a
        digest of the class file. A different mark means that the content may have changed. Raises InputError if a file
        is missing.
        """
        marks: dict[str, dict[str, str]] = {"raw_reviews": {}}
        with _naming_variable("ATELIER_PRODUCTS"):
            marks["raw_products"] = self._marks("raw_products", self._products())
        with _naming_variable("ATELIER_REVIEWS"):
            if self.reviews:
                marks["raw_reviews"] = self._marks("raw_reviews", self._reviews())
        if self.customers:
            with _naming_variable("ATELIER_CUSTOMERS"):
                marks["raw_customers"] = self._marks("raw_customers", self._customers())
        erased = Erasures.of(Path(self.home)).version if self.home else ""
        for of_source in marks.values() if erased else ():
            of_source["erased"] = erased  # erased rows are not read, so the same files yield other rows
        shop = self._shop_file()
        for of_source in marks.values() if shop else ():
            of_source["shop"] = shop.digest if shop else ""  # the same files yield other rows
        if listed := self._listed_pictures():
            marks["raw_products"]["pictures"] = listed  # other files match, so the same products have other pictures
        return {"garment_rules": {"": self.class_rules(chosen_classes).digest}, **marks}

    def legacy_digests(self, marks: dict[str, dict[str, str]]) -> dict[str, str]:
        """Convert marks to the form in cursors of earlier versions: one digest per source."""
        digests = {}
        for source, files in marks.items():
            text = "\n".join(f"{name} {mark}" for name, mark in files.items() if name not in NOT_FILES)
            seen = hashlib.sha256(text.encode()).hexdigest()[:16] if text else ""
            digests[source] = files[""] if "" in files else self._with_erasures(seen)
        return digests

    def given_up(self) -> list[GivenUp]:
        """List the files that could not be read and have not changed since (`passed_over.json` in the home)."""
        kept = []
        for entry in passed_over.read(self.home):
            specs = {"raw_reviews": self._reviews, "raw_customers": self._customers}
            spec = specs[entry.source]() if entry.source in specs else self.products and self._products()
            try:
                present = {self._shown(named): named for named in self._entries(spec)} if spec else {}
            except InputError:
                continue
            if entry.name in present and self._mark(present[entry.name]) == entry.mark:
                kept.append(entry)
        return kept

    def _marks(self, source: str, spec: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for entry in self._named(source, spec):
            name, mark = self._shown(entry), self._mark(entry)
            found[name] = f"{found[name]} {mark}" if name in found else mark  # two URLs that differ only in their query
        return found

    def _mark(self, entry: Path | str) -> str:
        if isinstance(entry, Path):
            found = entry.stat()
            return f"{found.st_size} {found.st_mtime_ns}"
        return remote.named_version(entry, self._cache(entry), self._settings(), dg.get_dagster_logger().warning)

    def _shown(self, entry: Path | str) -> str:
        return str(entry) if isinstance(entry, Path) else sources.shown(entry)

    def _named(self, source: str, spec: str) -> list[Path | str]:
        """List the files of `spec`, without those that were given up on and have not changed since."""
        given_up = {(e.name, e.mark) for e in passed_over.read(self.home) if e.source == source and e.passed_over}
        names = {name for name, _ in given_up}
        return [
            entry
            for entry in self._entries(spec)
            if (name := self._shown(entry)) not in names or (name, self._mark(entry)) not in given_up
        ]

    def _entries(self, spec: str) -> list[Path | str]:
        """List local files as paths and all else by URL, those in a bucket's folder each by its own."""
        entries: list[Path | str] = []
        for entry in sources.named(spec):
            entries += [entry] if isinstance(entry, Path) else remote.expanded(entry, self._settings())
        return list(dict.fromkeys(entries))

    def _files(self, source: str, spec: str) -> list[Path]:
        say = dg.get_dagster_logger().warning
        for entry in self.given_up():
            if entry.source == source and entry.passed_over:
                say(f"{entry.name}: passed over: it could not be read {entry.tries} times ({entry.error})")
        return [entry if isinstance(entry, Path) else self._fetch(entry) for entry in self._named(source, spec)]

    def hidden_files(self) -> list[str]:
        """Name the hidden files beside the named ones, which are not read."""
        return sources.hidden_files(self._products(), self._reviews(), self._customers())

    def check(self, say: remote.Warn) -> bool:
        """Look whether everything that was named is there, downloading nothing; True where reviews were named.

        Raises:
            InputError: as `review_files` and `product_files` raise it.
        """
        specs = {
            "ATELIER_PRODUCTS": self._products(),
            "ATELIER_REVIEWS": self._reviews(),
            "ATELIER_CUSTOMERS": self._customers(),
        }
        for variable, spec in specs.items():
            with _naming_variable(variable):
                for entry in self._entries(spec) if spec else ():
                    if isinstance(entry, str):
                        remote.check(entry, self._cache(entry), self._settings(), say)
        for message in self.hidden_files():
            say(message)
        named = {variable: sources.named(spec) if spec else [] for variable, spec in specs.items()}
        local = {variable: [entry for entry in one if isinstance(entry, Path)] for variable, one in named.items()}
        self.shop_layout(local["ATELIER_REVIEWS"], local["ATELIER_PRODUCTS"], local["ATELIER_CUSTOMERS"])
        return bool(self.reviews)

    def _reviews(self) -> str:
        own = environment.reviews()
        return own if self.reviews == sources.shown_spec(own) else self.reviews

    def _customers(self) -> str:
        own = environment.customers()
        return own if self.customers == sources.shown_spec(own) else self.customers

    def _products(self) -> str:
        if not self.products:
            raise InputError(
                "no product metadata: set ATELIER_PRODUCTS to a path, glob, folder, URL or table (and ATELIER_REVIEWS "
                "to the reviews), or run `make demo` for the embedded catalogue."
            )
        own = environment.products()
        return own if self.products == sources.shown_spec(own) else self.products

    def _version(self, source: str, spec: str) -> str:
        entries = self._named(source, spec)
        local = sources.digest([entry for entry in entries if isinstance(entry, Path)])
        urls = [entry for entry in entries if isinstance(entry, str)]
        if not urls:
            return self._with_erasures(local)
        say = dg.get_dagster_logger().warning
        versions = sorted(remote.data_version(url, self._cache(url), self._settings(), say) for url in urls)
        return self._with_erasures(hashlib.sha256("\n".join([local, *versions]).encode()).hexdigest())

    def _with_erasures(self, version: str) -> str:
        """Combine a version with that of the erasures and of shop.toml: with others the same files yield other rows."""
        shop = self._shop_file()
        version = hashlib.sha256(f"{version} {shop.digest}".encode()).hexdigest() if shop else version
        erased = Erasures.of(Path(self.home)).version if self.home else ""
        return hashlib.sha256(f"{version} {erased}".encode()).hexdigest() if erased else version

    def _fetch(self, url: str) -> Path:
        log, name = dg.get_dagster_logger(), sources.shown(url)
        bar, logged = terminal.reporter("downloading (MB)"), time.monotonic()

        def progress(size: int, total: int | None) -> None:
            nonlocal logged
            if bar is not None:
                bar(size >> 20, max(total or 0, size) >> 20, name)
            if time.monotonic() - logged >= LOG_EVERY:
                logged = time.monotonic()
                log.info(f"{name}: {size:,} of {'an unknown number of' if total is None else f'{total:,}'} bytes")

        return remote.fetch_to_cache(url, self._cache(url), self._settings(), progress, log.warning)

    def _cache(self, url: str) -> Path:
        if not self.cache:
            raise InputError(f"{sources.shown(url)}: only local files are read here; give a path")
        return Path(self.cache)

    def _settings(self) -> remote.RemoteSettings:
        return remote.RemoteSettings(allow_hosts=frozenset(self.allow_hosts))

    def class_rules(self, chosen: str = "") -> Rules:
        """Load the garment classes and their words, from the file chosen for this run, else `classes`, else built in.

        Raises:
            InputError: the file is invalid; the message names it, the key and what to do.
        """
        path = chosen or self.classes
        return load_rules(Path(path).expanduser()) if path else built_in()

    def truth(self) -> Path | None:
        """Find the planted tastes beside the embedded catalogue's reviews; None for real data."""
        if not self.reviews or "://" in self.reviews:
            return None
        path = Path(self.reviews).parent / "truth.npz"
        return path if path.is_file() else None


@contextlib.contextmanager
def _naming_variable(variable: str) -> Generator[None]:
    """Name the variable to set when an error says that a URL lacks its query or password."""
    try:
        yield
    except remote.QueryMissingError as error:
        raise InputError(f"{error}; set {variable} to the whole address and start again") from error


class ImageFetcher(dg.ConfigurableResource):
    """The access to picture hosts."""

    allow_hosts: list[str] = []  # noqa: RUF012  (a pydantic field)

    def fetch(self, urls: list[str], store: PictureStore, settings: FetchSettings, report: Report) -> FetchReport:
        """Fetch what the store lacks."""

        def progress(now: FetchProgress) -> None:
            size = f"{now.bytes / 1e6:,.1f} MB"
            report(now.done, now.total, f"{now.rate:,.0f}/s, {now.ok:,} ok, {now.broken:,} broken, {size}")

        return fetch(urls, store, self._allowed(settings), on_progress=progress)

    def plan(self, urls: list[str], store: PictureStore, settings: FetchSettings) -> FetchPlan:
        """Estimate what `fetch` would request, and its cost, without a request."""
        return plan_fetch(urls, store, self._allowed(settings))

    def _allowed(self, settings: FetchSettings) -> FetchSettings:
        return dataclasses.replace(settings, allow_hosts=frozenset(self.allow_hosts))


class Engine(dg.ConfigurableResource):
    """What processes shards: this process, or a Ray cluster."""

    name: str = "local"
    address: str = engine.OWN_CLUSTER  # of a Ray cluster
    workers: int = 0  # shards at once; 0: one per processor

    def check(self) -> None:
        """Raise InputError if the engine is unknown or not installed."""
        engine.check(self.name, self.address)

    def running(self) -> AbstractContextManager[Runner]:
        """Open a runner for the block; raises as `pipeline/core/engine.py` does."""
        return engine.running(self.name, self.address, self.workers)


class Compute(dg.ConfigurableResource):
    """The device and the processes that train models."""

    device: str = "auto"
    ranks: str = "1"

    def resolve(self) -> "torch.device":
        """Resolve the device.

        Raises:
            InputError: the device does not exist; the message lists those that do.
        """
        from models.training import device as devices

        try:
            return devices.resolve(self.device)
        except (ValueError, RuntimeError) as error:
            raise InputError(f"ATELIER_DEVICE: {error}") from error

    def rank_count(self) -> int:
        """Compute how many processes train one model together.

        Raises:
            InputError: `ranks` is not a number, or too many for the device; or as `resolve`.
        """
        import torch

        device = self.resolve()
        gpus = torch.cuda.device_count() if device.type == "cuda" and device.index is None else None
        if self.ranks == "auto":
            return max(1, gpus or 1)
        if not (self.ranks.isdecimal() and int(self.ranks) > 0):
            raise InputError(f"ATELIER_RANKS is {self.ranks!r}; give a number from 1, or auto: one per GPU")
        count = int(self.ranks)
        if count > 1 and device.type != "cpu" and count > (gpus or 1):
            raise InputError(
                f"ATELIER_RANKS is {count}, but device {self.device!r} has room for {gpus or 1}, one per GPU; "
                "lower it, or set ATELIER_DEVICE=cuda for all GPUs"
            )
        return count


def default_resources() -> dict[str, object]:
    """Make the resources from the environment."""
    home = environment.home()
    return {
        "io_manager": ParquetTables(base_path=UPath(home / "tables")),
        "storage": Storage(root=str(home)),
        "method": Method(profile=environment.profile()),
        "tracker": Tracker(
            tracking_uri=environment.redacted(environment.tracking_uri(home)),
            artifact_root=environment.artifact_root(home),
            mlflow_ui=environment.mlflow_ui(),
            dagster_ui=environment.dagster_ui(),
        ),
        "raw": RawSources(
            reviews=sources.shown_spec(environment.reviews()),
            products=sources.shown_spec(environment.products()),
            customers=sources.shown_spec(environment.customers()),
            shop=environment.shop(),
            classes=environment.classes(),
            licence=environment.licence(),
            cache=str(home / "inputs"),
            home=str(home),
            allow_hosts=sorted(environment.allowed_hosts()),
        ),
        "fetcher": ImageFetcher(allow_hosts=sorted(environment.allowed_hosts())),
        "engine": Engine(name=environment.engine(), address=environment.ray_address()),
        "compute": Compute(device=environment.device(), ranks=environment.ranks()),
    }
