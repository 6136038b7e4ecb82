"""Resolve input specifications to files and URLs, hide secrets in URLs, and digest files."""

import glob
import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.core.errors import InputError
from pipeline.core.raw import database_urls

_TEXTS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".inter", ".item")
_BINARY = (".parquet", ".arrow", ".feather", ".arrows")
SUFFIXES = tuple(f"{name}{packed}" for packed in ("", ".gz", ".zst", ".zip") for name in _TEXTS) + _BINARY
# What may be a table, and as well a note or a licence: taken from a folder that holds nothing better.
PERHAPS = (".txt", ".data", ".dat", ".txt.gz", ".txt.zst", ".dat.gz", ".zip", *database_urls.ENDINGS)
PARTITIONS_AT_MOST = 100_000  # files below a folder of Hive partitions

# Where inputs may be: the place, how it is written, how it is read, and what is bounded.
PLACES: tuple[tuple[str, str, str, str], ...] = (
    (
        "local files",
        "a path, a pattern (`*`, `?`, `**`), a folder",
        "in place; a folder means the files in it whose names end as below",
        f"{PARTITIONS_AT_MOST:,} partitions",
    ),
    (
        "web",
        "`http://host/file`, `https://host/file`",
        "copied into the home, and again only if its ETag or Last-Modified changed; an interrupted download resumes",
        "public addresses, unless `ATELIER_ALLOW_HOSTS` names another; 5 redirects",
    ),
    (
        "buckets",
        "`s3://bucket/key`, `s3://bucket/folder/`, `s3://bucket/folder/*.csv.gz`; needs the extra `s3`",
        "copied likewise, by the ETag; keys and endpoint come from the `AWS_` variables",
        "files directly in the folder",
    ),
    (
        "SQLite",
        "`sqlite:////data/shop.db?table=orders`, or the path of a file that ends with `.db`, `.db3`, `.sqlite` or"
        " `.sqlite3`",
        "opened read-only, and the table or view copied into the home in the order of rowid or primary key",
        "a value of 64 MB",
    ),
    (
        "PostgreSQL",
        "`postgresql://user:password@host/shop?table=orders`, also `?table=schema.orders`",
        "copied in a read-only session, at one moment, in the order of the primary key; again only if rows changed",
        "10,000 rows in memory",
    ),
)
WEB, BUCKET = ("http://", "https://"), "s3://"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>,\]]+")
_CUT = "?..."  # replaces a query that must not be shown


def resolve(spec: str, fetch: Callable[[str], Sequence[Path]] | None = None) -> list[Path]:
    """List the files of a specification, in order and each once; `fetch` makes the copies of a URL (`remote.py`).

    Raises InputError as `named` does, also for a URL without `fetch`, and whatever `fetch` raises.
    """
    found = []
    for entry in named(spec):
        if isinstance(entry, Path):
            found.append(entry)
        elif fetch is None:
            raise InputError(f"{shown(entry)}: only local files are read here; give the path of a copy")
        else:
            found += fetch(entry)
    return found


def named(spec: str) -> list[Path | str]:
    """Expand a comma-separated specification of paths, globs, folders and URLs, in order and each once.

    Nothing is fetched. A folder means the files in it with one of SUFFIXES, else of PERHAPS, without subfolders; but
    Hive's partitions (`year=2020/part-0.parquet`) are followed. Empty files among others are skipped. A comma inside a
    URL belongs to the URL, unless a blank, `/`, `./`, `../`, `~`, another URL or an existing file name follows; %2C
    always belongs to it.

    Returns:
        Local files as paths; URLs, buckets' patterns and tables of databases, also of SQLite files, as text.

    Raises:
        InputError: an empty specification, a missing or empty file, a glob or folder without files, or a URL of a kind
            that is not read.
    """
    found: dict[Path | str, Path | str] = {}
    for part in (p.strip() for p in _parts(spec)):
        if "://" in part:
            _check_url(part)
            found.setdefault(part, part)
        else:
            for path in _resolve_one(part) if part else ():
                entry = path if path.name.lower().endswith(SUFFIXES) else _of_database(path)
                found.setdefault(path.resolve() if entry is path else entry, entry)
    if not found:
        raise InputError(f"no input named in {spec!r}: give a path, a glob, a folder or a URL")
    return list(found.values())


def _check_url(url: str) -> None:
    """Refuse URLs of other kinds, and those of SQLite files that are not there. Raises InputError."""
    if database_urls.kind_of(url) == database_urls.SQLITE:
        path = database_urls.sqlite_path(url)
        if not path.is_file() or not path.stat().st_size:
            raise InputError(
                f"{shown(url)}: there is no file {path}; an absolute path has four slashes: {database_urls.SHAPES}"
            )
    elif not url.lower().startswith((*WEB, BUCKET)) and not database_urls.kind_of(url):
        raise InputError(
            f"{shown(url)}: only http, https, s3, sqlite and postgresql URLs are read; download it and give its path"
        )


def _of_database(path: Path) -> Path | str:
    return database_urls.sqlite_url(path) if database_urls.is_sqlite_file(path) else path


def is_far(spec: str) -> bool:
    """Return whether a specification names something on a server. SQLite files are local."""
    return any("://" in part and not part.strip().lower().startswith("sqlite://") for part in _parts(spec))


def shown(url: str) -> str:
    """Remove user name, password and query from a URL, because they may be secret; print and store only the result."""
    if database_urls.kind_of(url):
        return database_urls.shown(url)
    if url.lower().startswith(BUCKET):  # a key may hold ? and #, and nothing in it is secret
        authority, slash, object_key = url[len(BUCKET) :].partition("/")
        bucket = authority.rpartition("@")[2]
        return BUCKET + ("..." if ":" in bucket else f"{bucket}{slash}{object_key}")
    bare, *rest = re.split(r"[?#]", url, maxsplit=1)
    scheme, _, place = bare.partition("://")
    authority, slash, path = place.partition("/")
    host = authority.rpartition("@")[2]
    if not re.fullmatch(r"(\[[^]]*\]|[^:]*)(:\d*)?", host):
        return f"{scheme}://..."  # no port after the colon: perhaps `user:pass/word@host`
    return f"{scheme}://{host}{slash}{path}" + (_CUT if rest else "")


def shown_spec(spec: str) -> str:
    """Remove secrets from the URLs of a specification; paths and patterns stay."""
    if "://" not in spec:
        return spec
    return ", ".join(shown(part) if "://" in part else part for part in (p.strip() for p in _parts(spec)))


def shown_within(text: str) -> str:
    """Remove secrets from every URL in a text."""
    return _URL.sub(lambda found: shown(found[0]), text) if "://" in text else text


def lacks_query(url: str) -> bool:
    """Return whether this is a URL whose query or password `shown` removed."""
    return database_urls.lacks_secret(url) if database_urls.kind_of(url) else url.endswith(_CUT)


def _parts(spec: str) -> list[str]:
    """Split a specification at its separating commas."""
    if "://" not in spec:
        # A path may contain a comma, so try the whole text first.
        return [spec] if Path(spec).expanduser().exists() and spec.strip() else spec.split(",")
    parts: list[str] = []
    for piece in spec.split(","):
        in_url = bool(parts) and "://" in parts[-1] and not parts[-1][-1:].isspace()
        if in_url and not _begins_an_entry(piece):
            parts[-1] += "," + piece
        else:
            parts.append(piece)
    return parts


def _begins_an_entry(piece: str) -> bool:
    """Return whether the text after a comma in a URL begins a new entry (see `named`)."""
    if not piece or piece[0].isspace() or piece.startswith(("/", "./", "../", "~")):
        return True
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", piece) is not None or bool(glob.glob(piece.strip()))  # noqa: PTH207


def is_hidden(path: Path) -> bool:
    """Return whether a file is hidden (`.old.csv`), or left by a program beside another (`._a.csv`, `~$a.csv`)."""
    return path.name.startswith((".", "~$"))


def hidden_files(*specs: str) -> list[str]:
    """Name the hidden files in the folders of the specifications' files, each once; they are skipped unless named."""
    entries = [entry for spec in specs if spec for entry in named(spec) if isinstance(entry, Path)]
    found = {
        path
        for folder in {entry.parent for entry in entries}
        for path in folder.iterdir()
        if is_hidden(path) and path.name.lower().endswith(SUFFIXES) and path.is_file() and path not in entries
    }
    return [f"{path}: passed over: {_why_hidden(path.name)}" for path in sorted(found)]


def _why_hidden(name: str) -> str:
    if name.startswith("._"):
        return "macOS leaves such files beside others (AppleDouble); delete it"
    if name.startswith("~$"):
        return "Excel keeps such a file while another is open in it; close that one"
    return "its name begins with a dot, so it is hidden; rename it if it is to be read"


def _resolve_one(part: str) -> list[Path]:
    path = Path(part).expanduser()
    if path.is_dir():
        within = sorted(p for p in path.iterdir() if p.is_file())
        there = [p for p in within if p.name.lower().endswith(SUFFIXES)] or _partitions(path)
        there = there or [p for p in within if p.name.lower().endswith(PERHAPS)]
        files = sorted(p for p in there if not is_hidden(p))
        if not files:
            but = " but hidden ones, whose names begin with a dot or ~$" if there else ""
            known = ", ".join((*_TEXTS, *_BINARY))
            raise InputError(
                f"{path}: the folder holds no {known} file (or one of these with .gz, .zst or .zip){but}; give the"
                " folder that does"
            )
    elif path.exists():
        files = [path]
    elif glob.has_magic(part):
        matches = glob.glob(str(path), recursive=True)  # noqa: PTH207  Path.glob takes no absolute pattern
        files = sorted(p for p in map(Path, matches) if p.is_file() and not is_hidden(p))
        if not files:
            raise InputError(f"{part}: the pattern matches no file; check it against the folder's contents")
    else:
        raise InputError(f"{path}: no such file; check the path (relative paths start at {Path.cwd()})")
    sizes = {}
    for file in files:
        try:
            sizes[file] = file.stat().st_size
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
    filled = [file for file, size in sizes.items() if size]
    if not filled:
        raise InputError(f"{files[0]}: the file is empty; fetch it again or take it out of the input")
    return filled  # an empty file among others is a day without reviews, or is not written yet


def _partitions(folder: Path) -> list[Path]:
    """List the files in folders named key=value, at any depth, in the order of their paths."""
    found, waiting = list[Path](), [folder]
    while waiting:
        for below in sorted(p for p in waiting.pop().iterdir() if p.is_dir() and "=" in p.name[1:]):
            waiting.append(below)
            found += [p for p in below.iterdir() if p.is_file() and p.name.lower().endswith(SUFFIXES)]
        if len(found) > PARTITIONS_AT_MOST:
            raise InputError(f"{folder}: holds more than {PARTITIONS_AT_MOST:,} partitions; name fewer")
    return [path for path in sorted(found) if not (path.name.startswith("_") or is_hidden(path))]


def digest(paths: Sequence[Path]) -> str:
    """Hash the sorted, distinct SHA-256 of the files, so that names, order and repetition do not matter."""
    parts = set()
    for path in paths:
        with path.open("rb") as file:
            parts.add(hashlib.file_digest(file, "sha256").hexdigest())
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()
