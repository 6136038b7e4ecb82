"""No secret of an operator is written, printed or shown: run a small shop and search every byte that it leaves.

Secrets are planted wherever one can stand: in the query of each input's address and of pictures', in the passwords of
the store, the tracking server and the database, in keys.
"""

import base64
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from pipeline.core.errors import InputError
from pipeline.home import environment, instance
from pipeline.runtime.resources import RawSources, default_resources
from pipeline.runtime.tracking import Tracker
from tests.pipeline.conftest import isolate
from tests.pipeline.core.fault_server import jpeg
from tests.pipeline.core.file_server import FileServer, Served

ROOT = Path(__file__).parents[3]
REVIEWS, PRODUCTS, PICTURES, KEYS = "5f2a9c0d1e7b4438", "a41c77d0be+9/21=", "77aa01be5d2c99f3", "wJalrXUtnFEMI0K7MDENG"
# Raw rows as they came, and what is asked again: their owner's alone, and without signatures in a store.
HOLD_ADDRESSES = re.compile(
    r"(inputs|parts|staged)/.*|tables/(products|rejects|image_urls|image_ledger)\.parquet|pictures/ledger-\d+\.parquet"
)


def forms(secret: str) -> list[bytes]:
    """List the encodings in which a secret may be written."""
    raw = secret.encode()
    shifted = [base64.b64encode(b" " * shift + raw)[4:-4] for shift in range(3)]  # at any position in a text
    return [raw, quote(secret, safe="").encode(), json.dumps(secret)[1:-1].encode(), *shifted]


def unpacked(path: Path) -> Iterator[bytes]:
    """Read a file's bytes, and decompress them if possible: Dagster compresses its snapshots."""
    content = path.read_bytes()
    yield content
    if content.startswith(b"SQLite format 3\0"):
        with sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True) as database:
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                for row in database.execute(f'SELECT * FROM "{table}"'):
                    for value in row:
                        if isinstance(value, bytes) and value[:1] == b"x":
                            yield zlib.decompress(value)
                        elif value is not None:
                            yield str(value).encode()


def holding(folder: Path, secrets: list[str]) -> list[str]:
    """Find the files under `folder` that contain a secret in any form."""
    needles = [form for secret in secrets for form in forms(secret)]
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and any(needle in content for content in unpacked(path) for needle in needles)
    )


class Argv(threading.Thread):
    """Records the arguments of every process that has `mark` in its environment, until it is stopped."""

    def __init__(self, mark: str) -> None:
        super().__init__(daemon=True)
        self.mark, self.seen, self.over = mark.encode(), set[bytes](), threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.2):
            for entry in Path("/proc").glob("[0-9]*"):
                try:
                    if self.mark in (entry / "environ").read_bytes():
                        self.seen.add((entry / "cmdline").read_bytes())
                except OSError:
                    continue


def rows(many: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in many).encode()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
def test_a_run_with_secrets_everywhere_writes_prints_and_shows_none(tmp_path: Path) -> None:
    home, store = tmp_path / "home", tmp_path / "store"
    with FileServer() as server:
        signed = f"?X-Amz-Date=20260101T000000Z&X-Amz-Expires=900&X-Amz-Signature={PICTURES}"
        for item in range(6):
            server.files[f"{item}.jpg"] = Served(jpeg(item))
        reviews = [
            {"reviewerID": f"A{user}", "asin": f"B{item}", "overall": 5.0, "unixReviewTime": 1_500_000_000 + item}
            for user in range(6)
            for item in range(6)
        ]
        pictures = [server.url(f"{item}.jpg{signed}") for item in range(6)]
        products = [
            {"asin": f"B{item}", "title": "Women's T-Shirt", "imageURL": [url], "imageURLHighRes": [url]}
            for item, url in enumerate(pictures)
        ]
        server.files["reviews.jsonl"] = Served(rows(reviews))
        server.files["products.jsonl"] = Served(rows(products) + f'{{"imageURL": ["{pictures[0]}"'.encode())
        chosen = ("reviews", "products", "rejects", "interactions", "users", "items", "image_urls", "image_ledger")
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ATELIER_", "MLFLOW_"))},
            "ATELIER_HOME": str(home),
            "ATELIER_STORE": str(store),
            "ATELIER_REVIEWS": server.url(f"reviews.jsonl?X-Amz-Expires=900&X-Amz-Signature={REVIEWS}"),
            "ATELIER_PRODUCTS": server.url(f"products.jsonl?token={quote(PRODUCTS, safe='')}"),
            "ATELIER_ALLOW_HOSTS": server.host,
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": KEYS,
            "ATELIER_MARK": str(tmp_path),
        }
        watch = Argv(f"ATELIER_MARK={tmp_path}")
        watch.start()
        command = ["-m", "pipeline.run", "--profile", "cpu", "--select", " or ".join(f'key:"{n}"' for n in chosen)]
        ended = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=variables, capture_output=True, timeout=600, check=False
        )
        watch.over.set()
        watch.join()
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said.decode()[-2000:]
    assert len({asked.path for asked in server.asked if PICTURES in asked.path}) == 6
    inputs = [REVIEWS, PRODUCTS, KEYS]
    assert holding(home, inputs) == []
    private = holding(home, [PICTURES])  # so the search does find a secret
    assert private and [name for name in private if not HOLD_ADDRESSES.fullmatch(name)] == []
    assert [name for name in private if (home / name).stat().st_mode & 0o077] == []
    assert holding(store, [*inputs, PICTURES]) == []
    words = b"\0".join(watch.seen)
    assert words and not any(form in said + words for secret in (*inputs, PICTURES) for form in forms(secret))


def test_the_next_run_uses_the_copies_or_says_which_address_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FileServer() as server:
        server.files["reviews.jsonl"] = Served(b'{"reviewerID": "A", "asin": "B"}\n')
        server.files["products.jsonl"] = Served(b'{"asin": "B"}\n')
        whole = {
            "ATELIER_REVIEWS": server.url(f"reviews.jsonl?token={REVIEWS}"),
            "ATELIER_PRODUCTS": server.url("products.jsonl"),
        }
        home = tmp_path / "home"
        isolate(monkeypatch, home, **whole, ATELIER_ALLOW_HOSTS=server.host)
        raw = default_resources()["raw"]
        assert isinstance(raw, RawSources)
        assert raw.reviews == server.url("reviews.jsonl?...")
        files, version, looks = raw.review_files(), raw.review_version(), raw.marks()
        asked = len([each for each in server.asked if "reviews" in each.path])
        monkeypatch.setenv("ATELIER_REVIEWS", raw.reviews)  # as the UI knows it, of the last run
        assert (raw.review_files(), raw.review_version(), raw.marks()) == (files, version, looks)
        assert len([each for each in server.asked if "reviews" in each.path]) == asked
        files[0].unlink()
        with pytest.raises(InputError, match=r"known without its query.*; set ATELIER_REVIEWS to the whole address"):
            raw.check(lambda _: None)


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("postgresql://me:geheim@db:5432/atelier?sslpassword=geheim", "postgresql://me:...@db:5432/atelier?..."),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("sftp://me:ge@heim@host/x", "sftp://me:...@host/x"),
        ("abfs://container@account.dfs.core.windows.net/x", "abfs://container@account.dfs.core.windows.net/x"),
        ("sqlite:////home/a?b#c.db", "sqlite:////home/a?b#c.db"),
        ("/a/folder with ? and #", "/a/folder with ? and #"),
    ],
)
def test_redacting_removes_only_password_and_query(address: str, kept: str) -> None:
    assert environment.redacted(address) == environment.redacted(kept) == kept
    assert environment.unredacted(kept, address) == address


def test_a_tracking_servers_login_moves_to_mlflows_variables(tmp_path: Path, monkeypatch) -> None:
    isolate(monkeypatch, tmp_path / "home", MLFLOW_TRACKING_URI="https://me:ge%40heim@mlflow.example/x")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    assert environment.tracking_uri(tmp_path) == environment.mlflow_ui() == "https://mlflow.example/x"
    assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("me", "ge@heim")


def test_a_databases_password_is_in_no_resource_and_no_configuration(tmp_path: Path, monkeypatch) -> None:
    password = "geheim-5f2a9c0d1e7b"
    address = f"postgresql://me:{password}@127.0.0.1:1/atelier"
    isolate(monkeypatch, tmp_path / "home", ATELIER_DATABASE=address, MLFLOW_TRACKING_URI=address)
    tracker = default_resources()["tracker"]
    assert isinstance(tracker, Tracker)
    assert password not in str(tracker) and tracker.uri.endswith(address.partition(":")[2])
    instance.prepare(tmp_path / "home")
    assert holding(tmp_path, [password]) == []


def test_an_artifact_address_with_a_password_is_refused(tmp_path: Path, monkeypatch) -> None:
    isolate(monkeypatch, tmp_path / "home", ATELIER_ARTIFACTS="sftp://me:geheim@host/x")
    with pytest.raises(InputError, match=r"^ATELIER_ARTIFACTS sftp://me:\.\.\.@host/x: "):
        environment.artifact_root(tmp_path)
