"""Environment variables: one function per variable, with its default and its check, without Dagster.

A `.env` file in the working directory adds variables, but never overrides those of the environment.
"""

import os
import re
import tempfile
from pathlib import Path
from urllib.parse import unquote

from dotenv import load_dotenv

from pipeline.core.errors import InputError
from pipeline.home import place

load_dotenv(Path.cwd() / ".env", override=False)


def home() -> Path:
    """`ATELIER_HOME`: the folder of all output (default `var/`), absolute."""
    named = os.environ.get("ATELIER_HOME") or "var"
    try:
        return Path(named).expanduser().resolve()
    except (RuntimeError, OSError) as error:  # an unknown ~user, circular links
        raise InputError(f"ATELIER_HOME {named}: {error}. Name another folder.") from error


def reviews() -> str:
    """`ATELIER_REVIEWS` or `ATELIER_INTERACTIONS`: path, glob, folder, URL or table of reviews or orders; or empty."""
    named = {name: os.environ.get(name, "") for name in ("ATELIER_REVIEWS", "ATELIER_INTERACTIONS")}
    if len({*filter(None, named.values())}) > 1:
        raise InputError("ATELIER_REVIEWS and ATELIER_INTERACTIONS name different files; set one of them.")
    return next(filter(None, named.values()), "")


def products() -> str:
    """`ATELIER_PRODUCTS`: path, glob, folder, URL or database table of the product metadata, comma-separated."""
    return os.environ.get("ATELIER_PRODUCTS", "")


def customers() -> str:
    """`ATELIER_CUSTOMERS`: path, glob, folder, URL or database table of customers, comma-separated; or empty."""
    return os.environ.get("ATELIER_CUSTOMERS", "")


def shop() -> str:
    """`ATELIER_SHOP`: a shop.toml, which says what the columns of tables mean; empty: they are recognised."""
    return os.environ.get("ATELIER_SHOP", "")


def classes() -> str:
    """`ATELIER_CLASSES`: a TOML file of garment classes; empty for the built-in ones."""
    return os.environ.get("ATELIER_CLASSES", "")


def licence() -> str:
    """`ATELIER_LICENCE`: the licence of the data, in your words, for the model cards; empty: not stated."""
    return os.environ.get("ATELIER_LICENCE", "")


def device() -> str:
    """`ATELIER_DEVICE`: auto, cuda, mps or cpu."""
    return os.environ.get("ATELIER_DEVICE") or "auto"


def engine() -> str:
    """`ATELIER_ENGINE`: what processes shards: local (this process) or ray (default: local)."""
    return os.environ.get("ATELIER_ENGINE") or "local"


def ray_address() -> str:
    """`ATELIER_RAY_ADDRESS`: a Ray cluster, `host:port` or `auto` (default: one is started on loopback)."""
    return os.environ.get("ATELIER_RAY_ADDRESS") or "local"


def ranks() -> str:
    """`ATELIER_RANKS`: processes that train one model together, a number, or auto for one per GPU (default 1)."""
    return os.environ.get("ATELIER_RANKS") or "1"


def profile() -> str:
    """`ATELIER_PROFILE`: the profile that a Materialize button uses; set by `make ui` from the home's last run."""
    return os.environ.get("ATELIER_PROFILE", "")


def allowed_hosts() -> frozenset[str]:
    """`ATELIER_ALLOW_HOSTS`: private `host:port` addresses that pictures and inputs may be fetched from."""
    hosts = os.environ.get("ATELIER_ALLOW_HOSTS", "")
    return frozenset(host.strip() for host in hosts.split(",") if host.strip())


def ui_hosts() -> tuple[str, ...]:
    """`ATELIER_UI_HOSTS`: host names of the UIs besides loopback, `name` or `name:port`, comma-separated."""
    named = [host.strip().lower() for host in os.environ.get("ATELIER_UI_HOSTS", "").split(",") if host.strip()]
    for host in named:
        if not re.fullmatch(r"([a-z0-9_.-]*[a-z0-9]|\[[0-9a-f:.]+\])(:\d{1,5})?", host):
            raise InputError(
                f"ATELIER_UI_HOSTS: {host!r} is no host: give names or addresses as in a browser's address bar, "
                "without http:// and path, for example atelier.example.org or 192.0.2.7:3000."
            )
    return tuple(named)


def owners() -> tuple[str, ...]:
    """`ATELIER_OWNERS`: owners of assets in Dagster, e-mail or `team:name`, comma-separated; empty: teams by stage."""
    named = [owner.strip() for owner in os.environ.get("ATELIER_OWNERS", "").split(",") if owner.strip()]
    for owner in named:
        if not re.fullmatch(r"team:\w+|[^@\s]+@[^@\s.]+\.[^@\s]+", owner):
            raise InputError(f"ATELIER_OWNERS: {owner!r} is neither an e-mail address nor team:name.")
    return tuple(named)


def database() -> str:
    """`ATELIER_DATABASE`: where Dagster keeps runs and events, `postgresql://...`; empty: SQLite under the home."""
    return _with_driver(os.environ.get("ATELIER_DATABASE", ""))


def tracking_uri(home: Path) -> str:
    """`MLFLOW_TRACKING_URI` (default: sqlite under the home): MLflow's server or database.

    A login in a server's URL moves to MLflow's own variables, because MLflow prints and stores the URL.
    """
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    if address.startswith(("http://", "https://")):
        scheme, _, rest = address.partition("://")
        authority, slash, path = rest.partition("/")
        login, at, host = authority.rpartition("@")
        if at:
            user, _, password = login.partition(":")
            os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = map(
                unquote, (user, password)
            )
        address = f"{scheme}://{host}{slash}{path}"
    return _with_driver(address) or f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"


def redacted(address: str) -> str:
    """Remove password and query from the address of a store or database, so that it can be printed and stored."""
    scheme, mark, rest = address.partition("://")
    if not mark or scheme.startswith("sqlite") or scheme == "file":
        return address
    place, query, _ = rest.partition("?")
    before, at, host = place.rpartition("@")
    user, colon, _ = before.partition(":")
    return f"{scheme}://{user}{':...' if colon else ''}{at}{host}{'?...' if query else ''}"


def unredacted(known: str, own: str) -> str:
    """Return `own`, the environment's address, if `known` is its redacted form; otherwise `known`.

    Resources hold redacted addresses, because Dagster stores their configuration with every run.
    """
    return own if known == redacted(own) else known


def _with_driver(address: str) -> str:
    """Name the driver that Dagster installs in a database's address; SQLAlchemy's default is another one now."""
    return address.replace("postgresql://", "postgresql+psycopg2://", 1)


def artifact_root(home: Path) -> str:
    """`ATELIER_ARTIFACTS`: where MLflow keeps files, a folder or `s3://bucket/prefix` (default: under the home)."""
    address = os.environ.get("ATELIER_ARTIFACTS") or str(home / "mlflow" / "artifacts")
    if redacted(address) != address:
        raise InputError(
            f"ATELIER_ARTIFACTS {redacted(address)}: contains a password or a query, which MLflow would store "
            "and show; name a store that takes its keys from the environment, such as s3://bucket/prefix."
        )
    return address


def store() -> str:
    """`ATELIER_STORE`: where to copy the home, a folder or `s3://bucket/prefix`; empty: nowhere."""
    return os.environ.get("ATELIER_STORE", "")


def mlflow_ui() -> str:
    """`ATELIER_MLFLOW_UI`: the target of links to MLflow; default: the tracking server, else `make ui`."""
    server = tracking_uri(home())
    default = server.rstrip("/") if server.startswith(("http://", "https://")) else "http://127.0.0.1:5000"
    return os.environ.get("ATELIER_MLFLOW_UI") or default


def dagster_ui() -> str:
    """`ATELIER_DAGSTER_UI`: the target of links to Dagster; default: `make ui`."""
    return os.environ.get("ATELIER_DAGSTER_UI") or "http://127.0.0.1:3000"


def writable_home() -> Path:
    """Create the home if it is missing, and update it if it was moved or has an older format.

    Raises:
        InputError: it cannot be created or written to, or has a newer format.
    """
    folder = home()
    place.check(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"ATELIER_HOME {folder} cannot be written: {error.strerror}. Name another folder, for example "
            f"ATELIER_HOME=$HOME/atelier, or fix its permissions."
        ) from error
    place.bring_up_to_date(folder, artifact_root(folder))
    return folder
