"""What the environment says: one function a variable, with its default and its check.

Nothing here touches Dagster; resources and the command line both read from here. A `.env` file in the
working directory counts as environment, but never overrides it.
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
    """`ATELIER_HOME`: where every output lies (default `var/`), absolute."""
    named = os.environ.get("ATELIER_HOME") or "var"
    try:
        return Path(named).expanduser().resolve()
    except (RuntimeError, OSError) as error:  # ~nobody, links in a circle
        raise InputError(f"ATELIER_HOME {named}: {error}. Name another folder.") from error


def reviews() -> str:
    """`ATELIER_REVIEWS`: path, glob, folder or URL of the review files, several with commas between; or empty."""
    return os.environ.get("ATELIER_REVIEWS", "")


def products() -> str:
    """`ATELIER_PRODUCTS`: path, glob, folder or URL of the product metadata, likewise."""
    return os.environ.get("ATELIER_PRODUCTS", "")


def classes() -> str:
    """`ATELIER_CLASSES`: a TOML file of garment classes; empty for the built-in ones."""
    return os.environ.get("ATELIER_CLASSES", "")


def licence() -> str:
    """`ATELIER_LICENCE`: under which licence the data may be used, in your words, for the cards; empty: not stated."""
    return os.environ.get("ATELIER_LICENCE", "")


def device() -> str:
    """`ATELIER_DEVICE`: auto, cuda, mps or cpu."""
    return os.environ.get("ATELIER_DEVICE") or "auto"


def engine() -> str:
    """`ATELIER_ENGINE`: who runs what can be cut into shards, local (this process) or ray (default: local)."""
    return os.environ.get("ATELIER_ENGINE") or "local"


def ray_address() -> str:
    """`ATELIER_RAY_ADDRESS`: a Ray cluster, `host:port` or `auto` (default: one is started on loopback)."""
    return os.environ.get("ATELIER_RAY_ADDRESS") or "local"


def ranks() -> str:
    """`ATELIER_RANKS`: processes that train one model together, a number, or auto for one a GPU (default 1)."""
    return os.environ.get("ATELIER_RANKS") or "1"


def profile() -> str:
    """`ATELIER_PROFILE`: whose settings a Materialize button uses; set by `make ui` from the home's last run."""
    return os.environ.get("ATELIER_PROFILE", "")


def allowed_hosts() -> frozenset[str]:
    """`ATELIER_ALLOW_HOSTS`: private `host:port` addresses that pictures and inputs may be fetched from."""
    hosts = os.environ.get("ATELIER_ALLOW_HOSTS", "")
    return frozenset(host.strip() for host in hosts.split(",") if host.strip())


def ui_hosts() -> tuple[str, ...]:
    """`ATELIER_UI_HOSTS`: hosts, `name` or `name:port`, that the UIs are asked by beside loopback's, commas between."""
    named = [host.strip().lower() for host in os.environ.get("ATELIER_UI_HOSTS", "").split(",") if host.strip()]
    for host in named:
        if not re.fullmatch(r"([a-z0-9_.-]*[a-z0-9]|\[[0-9a-f:.]+\])(:\d{1,5})?", host):
            raise InputError(
                f"ATELIER_UI_HOSTS: {host!r} is no host: give names or addresses as a browser's address line has them, "
                "without http:// and path, for example atelier.example.org or 192.0.2.7:3000."
            )
    return tuple(named)


def owners() -> tuple[str, ...]:
    """`ATELIER_OWNERS`: who owns the assets in Dagster, e-mail or `team:name`, with commas; empty: teams by stage."""
    named = [owner.strip() for owner in os.environ.get("ATELIER_OWNERS", "").split(",") if owner.strip()]
    for owner in named:
        if not re.fullmatch(r"team:\w+|[^@\s]+@[^@\s.]+\.[^@\s]+", owner):
            raise InputError(f"ATELIER_OWNERS: {owner!r} is neither an e-mail address nor team:name.")
    return tuple(named)


def database() -> str:
    """`ATELIER_DATABASE`: where Dagster keeps runs and events, `postgresql://...`; empty: SQLite under the home."""
    return _with_driver(os.environ.get("ATELIER_DATABASE", ""))


def tracking_uri(home: Path) -> str:
    """`MLFLOW_TRACKING_URI` (default: sqlite under the home); a server's login goes where MLflow's client looks for it.

    MLflow prints and stores a server's address; a login in it would be seen in every link.
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


def kept(address: str) -> str:
    """A store's or database's address as it may be printed and kept: without password and query."""
    scheme, mark, rest = address.partition("://")
    if not mark or scheme.startswith("sqlite") or scheme == "file":
        return address
    place, query, _ = rest.partition("?")
    before, at, host = place.rpartition("@")
    user, colon, _ = before.partition(":")
    return f"{scheme}://{user}{':...' if colon else ''}{at}{host}{'?...' if query else ''}"


def whole(known: str, own: str) -> str:
    """`own`, which the environment says, where `known` is what may be kept of it; else `known`.

    Resources hold what may be kept, because Dagster stores their configuration with every run.
    """
    return own if known == kept(own) else known


def _with_driver(address: str) -> str:
    """A database's address with the driver that Dagster brings; SQLAlchemy's default has become another one."""
    return address.replace("postgresql://", "postgresql+psycopg2://", 1)


def artifact_root(home: Path) -> str:
    """`ATELIER_ARTIFACTS`: where MLflow keeps files, a folder or `s3://bucket/prefix` (default: under the home)."""
    address = os.environ.get("ATELIER_ARTIFACTS") or str(home / "mlflow" / "artifacts")
    if kept(address) != address:
        raise InputError(
            f"ATELIER_ARTIFACTS {kept(address)}: holds a password or a query, which MLflow would keep in its database "
            "and show; name a store that takes its keys from the environment, such as s3://bucket/prefix."
        )
    return address


def store() -> str:
    """`ATELIER_STORE`: where the home's copy is kept, a folder or `s3://bucket/prefix`; empty: nowhere."""
    return os.environ.get("ATELIER_STORE", "")


def mlflow_ui() -> str:
    """`ATELIER_MLFLOW_UI`: where links to MLflow lead; by default a tracking server itself, else where `make ui` is."""
    server = tracking_uri(home())
    default = server.rstrip("/") if server.startswith(("http://", "https://")) else "http://127.0.0.1:5000"
    return os.environ.get("ATELIER_MLFLOW_UI") or default


def dagster_ui() -> str:
    """`ATELIER_DAGSTER_UI`: where links to Dagster lead; by default where `make ui` is."""
    return os.environ.get("ATELIER_DAGSTER_UI") or "http://127.0.0.1:3000"


def writable_home() -> Path:
    """The home, made if need be, and brought up to date where it was moved or is of an older format.

    Raises:
        InputError: it cannot be made or written to, or is of a newer format.
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
            f"ATELIER_HOME=$HOME/atelier, or mend its permissions."
        ) from error
    place.bring_up_to_date(folder, artifact_root(folder))
    return folder
