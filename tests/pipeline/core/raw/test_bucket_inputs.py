"""Files in S3-compatible buckets as inputs, with a real server on loopback: fetched once, and again if they changed."""

import builtins
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import InputError, UnreachableError
from pipeline.core.raw import bucket as reader
from pipeline.core.raw import remote, sources
from pipeline.core.raw.ingest import read_reviews
from tests.pipeline.core.loopback import closed_port
from tests.pipeline.mirror.object_store import Bucket, bucket, point, refusing

CSV = b"user_id,item_id\na,x\nb,y\n"
SETTINGS = remote.RemoteSettings(retries=1, connect_timeout=2.0)


class Shelf:
    """A bucket, and a cache."""

    def __init__(self, held: Bucket, cache: Path) -> None:
        import boto3

        self.name, self.port, self.cache = held.address.split("/")[2], held.port, cache
        self.client: Any = boto3.client("s3")

    def put(self, key: str, data: bytes = CSV) -> str:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)
        return f"s3://{self.name}/{key}"

    def fetch(self, url: str, said: list[str] | None = None) -> Path:
        return remote.fetch_to_cache(url, self.cache, SETTINGS, warn=(said if said is not None else []).append)


@pytest.fixture(scope="module")
def running() -> Iterator[Bucket]:
    with pytest.MonkeyPatch.context() as patch, bucket(patch) as held:
        yield held


@pytest.fixture
def shelf(running: Bucket, tmp_path: Path) -> Shelf:
    return Shelf(running, tmp_path / "inputs")


def test_an_object_is_copied_and_again_only_if_it_changed(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    url = shelf.put("orders/january 2024#1.csv.gz", gzip.compress(CSV))
    path = shelf.fetch(url)
    assert path.name.endswith(".csv.gz") and read_reviews([path]).vintages == {url: "columns by their names"}
    version = remote.data_version(url, shelf.cache, SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr(reader.BucketFile, "_receive", lambda *_: pytest.fail("it was fetched again"))
        assert shelf.fetch(url) == path
    shelf.put("orders/january 2024#1.csv.gz", gzip.compress(CSV + b"c,z\n"))
    assert remote.data_version(url, shelf.cache, SETTINGS) != version
    assert len(read_reviews([shelf.fetch(url)]).reviews) == 3 and not path.exists()


def test_a_broken_download_goes_on_where_it_stopped(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    data = b"user_id,item_id\n" + b"".join(b"user%d,item%d\n" % (n, n) for n in range(20_000))
    url = shelf.put("big.csv", data)
    monkeypatch.setattr(reader, "BLOCK_BYTES", 64 << 10)
    whole, sizes = reader.make_private, []

    class KilledError(Exception):
        pass

    def stop(size: int, total: int | None) -> None:
        sizes.append((size, total))
        raise KilledError

    monkeypatch.setattr(reader, "_PROGRESS_EVERY", 0.0)
    with pytest.raises(KilledError):
        remote.fetch_to_cache(url, shelf.cache, SETTINGS, on_progress=stop)
    assert sizes == [(64 << 10, len(data))]

    def begun(path: Path) -> Path:
        sizes.append((path.stat().st_size, None))
        return whole(path)

    monkeypatch.setattr(reader, "make_private", begun)
    assert shelf.fetch(url).read_bytes() == data
    assert sizes[1][0] == 64 << 10


def test_a_folder_and_a_pattern_stand_for_their_files_in_order(shelf: Shelf):
    a, b = shelf.put("dump/a.csv"), shelf.put("dump/b.csv.gz", gzip.compress(CSV))
    for key in ("dump/_SUCCESS", "dump/notes.txt", "dump/._a.csv", "dump/sub/c.csv"):
        shelf.put(key)
    shelf.put("dump/empty.csv", b"")
    folder = f"s3://{shelf.name}/dump/"
    assert remote.expanded(folder, SETTINGS) == [a, b]
    assert remote.expanded(f"{folder}*.csv*", SETTINGS) == [a, b]
    assert remote.expanded(a, SETTINGS) == [a] and remote.expanded("http://h/x*", SETTINGS) == ["http://h/x*"]
    assert sources.named(f"{folder}, {a}") == [folder, a]  # nothing is asked to name them
    later = shelf.put("dump/c.csv")
    assert remote.expanded(folder, SETTINGS) == [a, b, later]


def test_what_is_not_there_is_an_error_with_the_mend(shelf: Shelf):
    shelf.put("years/year=2024/part.csv")
    for url, said in {
        f"s3://{shelf.name}/nowhere.csv": "there is no such object or bucket",
        "s3://no-such-bucket-here/a.csv": "there is no such object or bucket",
        f"s3://{shelf.name}/years": "is a folder of the bucket; end it with /",
        shelf.put("empty.csv", b""): "the file is empty",
        "s3://me:geheim@shop/a.csv": r"^s3://shop/a\.csv: write s3://bucket/key .* without keys",
    }.items():
        with pytest.raises(InputError, match=said) as refused:
            shelf.fetch(url)
        assert "geheim" not in str(refused.value)
    for tail, said in {"years/": "copy them, for example with `aws s3 sync`", "none/*.csv": "names no file"}.items():
        with pytest.raises(InputError, match=said):
            remote.expanded(f"s3://{shelf.name}/{tail}", SETTINGS)


def test_a_file_that_is_not_read_is_named_by_its_address(shelf: Shelf):
    url = shelf.put("orders.xz", b"\xfd7zXZ\x00" + bytes(20))
    with pytest.raises(InputError, match=rf"^{url}: is an xz file, which is not read; run `unxz` on it"):
        read_reviews([shelf.fetch(url)])


def test_without_an_answer_a_warning_names_the_age_of_the_copy_that_is_used(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
):
    url, said = shelf.put("orders.csv"), list[str]()
    path = shelf.fetch(url)
    point(monkeypatch, closed_port())
    assert shelf.fetch(url, said) == path
    assert "no answer from the bucket (EndpointConnectionError" in said[0] and "using the copy" in said[0]
    with pytest.raises(UnreachableError, match=r"no answer from the bucket .*there is no earlier copy"):
        shelf.fetch(f"s3://{shelf.name}/another.csv")
    with pytest.raises(UnreachableError, match="check the connection and run again"):
        remote.expanded(f"s3://{shelf.name}/dump/", SETTINGS)


def test_a_refusal_that_passes_is_asked_again(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    url = shelf.put("patient.csv")
    with refusing(shelf.port, after=1, times=1) as refusals:
        point(monkeypatch, refusals.port)
        assert shelf.fetch(url).read_bytes() == CSV
    assert refusals.refused == 1


def test_without_the_package_or_keys_the_error_says_what_to_do(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    url, real = shelf.put("orders.csv"), builtins.__import__
    with monkeypatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
        reader._filesystem(SETTINGS).clear_instance_cache()
        with pytest.raises(InputError, match=r"no key for the bucket .*set AWS_ACCESS_KEY_ID"):
            shelf.fetch(url)
        reader._filesystem(SETTINGS).clear_instance_cache()

    def importing(name: str, *more: Any) -> Any:
        if name == "s3fs":
            raise ImportError("no s3fs")
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(InputError, match=r"needs the package s3fs: install the extra, pip install -e \.\[s3\]"):
        shelf.fetch(url)
