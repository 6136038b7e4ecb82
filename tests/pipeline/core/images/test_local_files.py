"""Pictures in files on this machine: what is read, what is refused and why, and when a file is read again."""

import io
import os
import socket
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.core.images import archives
from pipeline.core.images.fetch import FetchReport, FetchSettings, fetch
from pipeline.core.images.fetch_plan import FILES, plan_fetch
from pipeline.core.images.forget import forget
from pipeline.core.images.ledger import PictureStore
from pipeline.core.local_address import archive_address, file_address
from tests.pipeline.core.fault_server import FaultServer


def jpeg(seed: int = 0, size: tuple[int, int] = (40, 60)) -> bytes:
    drawn = np.random.default_rng(seed).integers(0, 255, (6, 4, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(drawn).resize(size, Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
    return out.getvalue()


class Shop:
    """A folder of pictures, and a store."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "shop"
        self.folder.mkdir()
        self.store_folder = root / "store"

    @property
    def store(self) -> PictureStore:
        return PictureStore(self.store_folder)

    def put(self, name: str, data: bytes | None = None, seed: int = 0) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(seed) if data is None else data)
        return file_address(str(path))

    def fetch(self, *addresses: str, **settings: object) -> FetchReport:
        own = {"picture_folders": (str(self.folder),), "max_bytes": 1_000_000} | settings
        return fetch(addresses, self.store, FetchSettings(**own))  # type: ignore[arg-type]

    @property
    def rows(self) -> dict[str, dict]:
        return {row["url"]: row for row in self.store.ledger().to_pylist()}

    def reasons(self, *addresses: str, **settings: object) -> list[str]:
        self.fetch(*addresses, **settings)
        return [self.rows[address]["reason"] for address in addresses]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["a b.jpg", "50%.jpg", "a%20b.jpg", "a#b?c&d.jpg", "caf\u00e9 \u670d\u88c5.jpg", "A.JPG", "sub/!/x", "'\".jpg"],
)
def test_a_picture_is_kept_whatever_its_name(shop: Shop, name: str):
    address = shop.put(name)
    assert shop.reasons(address) == ["ok"]
    row = shop.rows[address]
    assert (row["format"], row["width"], row["height"], row["http_status"]) == ("JPEG", 40, 60, None)
    assert dict(shop.store.read([row["sha256"]])) == {row["sha256"]: jpeg()}


def test_what_is_not_read_says_why_and_nothing_blocks(shop: Shop, tmp_path: Path):
    (tmp_path / "outside.jpg").write_bytes(jpeg())
    (tmp_path / "shop-2").mkdir()
    (tmp_path / "shop-2" / "1.jpg").write_bytes(jpeg())
    shop.put("1.jpg")
    (shop.folder / "out.jpg").symlink_to(tmp_path / "outside.jpg")
    (shop.folder / "in.jpg").symlink_to("1.jpg")
    (shop.folder / "dangling.jpg").symlink_to("nothing.jpg")
    (shop.folder / "circle.jpg").symlink_to("circle.jpg")
    (shop.folder / "away").symlink_to(tmp_path)
    (shop.folder / "device.jpg").symlink_to("/dev/zero")
    os.mkfifo(shop.folder / "fifo.jpg")
    (shop.folder / "folder.jpg").mkdir()
    with (shop.folder / "sparse.jpg").open("wb") as file:
        file.truncate(1 << 30)
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(shop.folder)
        listening.bind("socket.jpg")
    shop.put("page.jpg", b"<html>no</html>")
    shop.put("empty.jpg", b"")
    shop.put("tiny.jpg", jpeg(size=(8, 8)))
    shop.put("tiff.jpg", b"II*\0" + bytes(100))
    shop.put("large.jpg", bytes(1_000_001))
    expected = {
        "1.jpg": "ok", "in.jpg": "ok", "missing.jpg": "file_missing", "1.jpg/2.jpg": "file_missing",
        "dangling.jpg": "file_missing", "circle.jpg": "file_missing", "out.jpg": "outside_folders",
        "away/outside.jpg": "outside_folders", "away/shop/1.jpg": "ok", "device.jpg": "outside_folders",
        "fifo.jpg": "not_a_picture", "folder.jpg": "not_a_picture", "socket.jpg": "not_a_picture",
        "sparse.jpg": "too_large", "large.jpg": "too_large", "page.jpg": "not_a_picture",
        "empty.jpg": "not_a_picture", "tiny.jpg": "too_small", "tiff.jpg": "unsupported_format",
        "../outside.jpg": "outside_folders", "../shop-2/1.jpg": "outside_folders", "x" * 300: "file_missing",
    }  # fmt: skip
    addresses = [file_address(f"{shop.folder}/{name}") for name in expected]
    absolute = [file_address("/etc/passwd"), file_address("/dev/zero"), "file:///", "file:///a%00b"]
    started = time.monotonic()
    reasons = shop.reasons(*addresses, *absolute)
    assert time.monotonic() - started < 10
    assert dict(zip(expected, reasons, strict=False)) == expected
    assert reasons[len(expected) :] == ["outside_folders"] * 3 + ["bad_url"]
    assert shop.fetch(*addresses, *absolute).known == len(expected) + 4  # all of them are settled


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file_is_asked_for_again(shop: Shop):
    address = shop.put("1.jpg")
    (shop.folder / "1.jpg").chmod(0)
    assert shop.reasons(address) == ["file_unreadable"]
    (shop.folder / "1.jpg").chmod(0o600)
    assert shop.reasons(address) == ["ok"]


def test_a_file_that_may_not_be_read_is_told_from_one_that_is_gone(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    address = shop.put("1.jpg")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.core.images.local_files._descriptor", refuse)
        patched.setattr("pipeline.core.images.local_files._content", lambda path, status: refuse())
        patched.setattr("pipeline.core.images.local_files.os.lstat", refuse)
        assert shop.reasons(address) == ["file_unreadable"]
    assert shop.reasons(address) == ["ok"]


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(shop: Shop):
    addresses = [shop.put(f"{n}.jpg", seed=n) for n in range(3)]
    first = shop.fetch(*addresses)
    assert (first.known, first.requests, first.reasons) == (0, 0, {"ok": 3})
    before = shop.rows
    assert shop.fetch(*addresses).reasons == {}
    shop.put("1.jpg", seed=9)
    later = shop.fetch(*addresses)
    assert (later.known, later.reasons) == (2, {"ok": 1})
    assert shop.rows[addresses[1]]["sha256"] != before[addresses[1]]["sha256"]
    assert shop.rows[addresses[0]] == before[addresses[0]]


def test_a_file_that_appears_is_read_and_a_kept_picture_stays_when_its_file_is_gone(shop: Shop):
    late = file_address(f"{shop.folder}/late.jpg")
    kept = shop.put("kept.jpg")
    assert shop.reasons(late, kept) == ["file_missing", "ok"]
    shop.put("late.jpg", seed=1)
    (shop.folder / "kept.jpg").unlink()
    assert shop.reasons(late, kept) == ["ok", "ok"]
    assert shop.reasons(late, kept, picture_folders=()) == ["ok", "ok"]


def test_a_broken_picture_is_settled_until_its_file_changes(shop: Shop):
    address = shop.put("1.jpg", b"no picture")
    assert shop.reasons(address) == ["not_a_picture"]
    assert shop.fetch(address).known == 1
    shop.put("1.jpg")
    assert shop.reasons(address) == ["ok"]


def test_a_folder_that_becomes_allowed_is_read(shop: Shop):
    address = shop.put("1.jpg")
    assert shop.reasons(address, picture_folders=()) == ["outside_folders"]
    assert shop.reasons(address, picture_folders=(str(shop.folder),)) == ["ok"]


def test_equal_files_are_stored_once_and_large_pictures_are_validated_alone(shop: Shop):
    noise = np.random.default_rng(0).integers(0, 255, (700, 1600, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "JPEG", quality=50)
    flat = io.BytesIO()
    Image.new("RGB", (1500, 1500), "red").save(flat, "PNG")
    assert len(out.getvalue()) > 65_536 > len(flat.getvalue())
    addresses = [
        shop.put("a.jpg"),
        shop.put("b.jpg"),
        shop.put("n.jpg", out.getvalue()),
        shop.put("f.png", flat.getvalue()),
    ]
    assert shop.reasons(*addresses) == ["ok"] * 4
    assert shop.store.sizes.pictures == 3


def test_files_and_web_pictures_are_one_fetch_and_one_plan(shop: Shop):
    with FaultServer() as server:
        addresses = [shop.put("1.jpg"), server.url("ok/1"), "file:///elsewhere.jpg", "ftp://h/x"]
        settings = FetchSettings(allow_hosts=frozenset({server.host}), picture_folders=(str(shop.folder),))
        plan = {host.host: host for host in plan_fetch(addresses, shop.store, settings).hosts}
        assert plan[FILES].requests == 2 and plan[server.host].requests == 1 and plan[FILES].seconds > 0
        heard = []
        report = fetch(addresses, shop.store, settings, heard.append)
        assert report.reasons == {"bad_url": 1, "ok": 2, "outside_folders": 1}
        assert report.requests == 1 and heard[-1].done == heard[-1].total == 4
        again = {host.host: host for host in plan_fetch(addresses, shop.store, settings).hosts}
        assert again[FILES].requests == 0 and again[FILES].there == 2


def test_forgotten_pictures_leave_the_store(shop: Shop):
    addresses = [shop.put("1.jpg", seed=1), shop.put("2.jpg", seed=2)]
    shop.fetch(*addresses)
    gone = shop.rows[addresses[0]]["sha256"]
    assert forget(shop.store_folder, lambda urls: np.array([url == addresses[0] for url in urls.to_pylist()])) == {gone}
    assert list(shop.rows) == addresses[1:]


def test_a_killed_fetch_of_files_resumes_where_it_was(shop: Shop):
    addresses = [shop.put(f"{n}.jpg", seed=n) for n in range(600)]
    code = (
        "import os, sys; from pathlib import Path;"
        "from pipeline.core.images.fetch import FetchSettings, fetch;"
        "from pipeline.core.images.ledger import PictureStore;"
        "store = PictureStore(Path(sys.argv[1])); flush = store.flush; count = [0]\n"
        "def dying():\n"
        "    flush(); count[0] += 1\n"
        "    if count[0] == 2: os._exit(9)\n"
        "store.flush = dying\n"
        "urls = sys.stdin.read().split()\n"
        "fetch(urls, store, FetchSettings(picture_folders=(sys.argv[2],), flush_every=200))"
    )
    command = [sys.executable, "-c", code, str(shop.store_folder), str(shop.folder)]
    ended = subprocess.run(command, input="\n".join(addresses), text=True, check=False)
    assert ended.returncode == 9
    settled = len(shop.rows)
    assert 200 <= settled < 600
    report = shop.fetch(*addresses)
    assert report.known == settled and report.reasons == {"ok": 600 - settled}
    assert shop.store.sizes.pictures == 600


def zipped(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> str:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return str(path)


def test_members_of_a_zip_are_read_without_unpacking(shop: Shop):
    noise = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (500, 500, 3), np.uint8)).save(noise, "PNG")
    members = {
        "images/1.jpg": jpeg(1), "images/caf\u00e9 #1.jpg": jpeg(2), "large.png": noise.getvalue(),
        "page.jpg": b"<html>", "bomb.jpg": bytes(900_000), "huge.jpg": bytes(1_000_001), "folder/": b"",
        "../up.jpg": jpeg(3), "/abs.jpg": jpeg(4),
    }  # fmt: skip
    path = zipped(shop.folder / "pictures.zip", members)
    expected = {
        "images/1.jpg": "ok", "images/caf\u00e9 #1.jpg": "ok", "large.png": "ok", "page.jpg": "not_a_picture",
        "bomb.jpg": "too_costly", "huge.jpg": "too_large", "folder": "file_missing", "missing.jpg": "file_missing",
    }  # fmt: skip
    addresses = [archive_address(path, name) for name in expected]
    assert dict(zip(expected, shop.reasons(*addresses), strict=True)) == expected
    assert sorted(p.name for p in shop.folder.iterdir()) == ["pictures.zip"]
    assert shop.fetch(*addresses).known == len(expected)
    zipped(shop.folder / "pictures.zip", {"missing.jpg": jpeg(5)})
    assert shop.reasons(addresses[-1]) == ["ok"]
    assert shop.reasons(archive_address(path, "x"), picture_folders=()) == ["outside_folders"]


def test_hostile_and_damaged_archives_say_why(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    one = {"1.jpg": jpeg()}
    whole = Path(zipped(shop.folder / "whole.zip", one)).read_bytes()
    (shop.folder / "cut.zip").write_bytes(whole[:-30])
    (shop.folder / "empty.zip").write_bytes(b"")
    (shop.folder / "page.zip").write_bytes(b"<html>" * 200)
    zipped(shop.folder / "lzma.zip", one, zipfile.ZIP_LZMA)
    flipped = bytearray(whole)
    flipped[200] ^= 0xFF
    (shop.folder / "flipped.zip").write_bytes(flipped)
    lying = bytearray(whole)  # the central directory says one byte fewer
    at = lying.rindex(b"PK\1\2")
    lying[at + 24] -= 1
    (shop.folder / "lying.zip").write_bytes(lying)
    with tarfile.open(shop.folder / "x.tar.gz", "w:gz") as packed:
        packed.add(shop.folder / "whole.zip", "1.jpg")
    (shop.folder / "folder.zip").mkdir()
    (shop.folder / "folder.zip" / "1.jpg").write_bytes(jpeg())
    expected = {
        "whole.zip": "ok", "cut.zip": "file_unreadable", "empty.zip": "file_unreadable",
        "page.zip": "unsupported_format", "lzma.zip": "unsupported_format",
        "flipped.zip": "not_a_picture", "lying.zip": "not_a_picture",
        "x.tar.gz": "unsupported_format", "folder.zip": "ok", "gone.zip": "file_missing",
    }  # fmt: skip
    addresses = [archive_address(f"{shop.folder}/{name}", "1.jpg") for name in expected]
    assert dict(zip(expected, shop.reasons(*addresses), strict=True)) == expected
    monkeypatch.setattr(archives, "INDEX_BYTES_AT_MOST", 100)
    many = zipped(shop.folder / "many.zip", {f"{n}.jpg": b"x" for n in range(10)})
    assert shop.reasons(archive_address(many, "1.jpg")) == ["too_costly"]


def test_members_of_a_tar_are_read_and_links_and_odd_names_are_not(shop: Shop):
    path = shop.folder / "images.tar"
    long = "deep/" * 40 + "1.jpg"
    with tarfile.open(path, "w") as archive:
        for name, data in {
            "images/1.jpg": jpeg(1),
            "./dot.jpg": jpeg(2),
            long: jpeg(3),
            "caf\u00e9.jpg": jpeg(4),
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name in ("/abs.jpg", "../up.jpg"):
            info = tarfile.TarInfo(name)
            info.size = len(jpeg())
            archive.addfile(info, io.BytesIO(jpeg()))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        device = tarfile.TarInfo("device.jpg")
        device.type = tarfile.CHRTYPE
        archive.addfile(device)
        big = tarfile.TarInfo("big.jpg")
        big.size = 1_000_001
        archive.addfile(big, io.BytesIO(bytes(big.size)))
    expected = {
        "images/1.jpg": "ok", "dot.jpg": "ok", long: "ok", "caf\u00e9.jpg": "ok", "abs.jpg": "file_missing",
        "../up.jpg": "file_missing", "/abs.jpg": "file_missing", "link.jpg": "file_missing",
        "device.jpg": "file_missing", "big.jpg": "too_large",
    }  # fmt: skip
    addresses = [archive_address(str(path), name) for name in expected]
    assert dict(zip(expected, shop.reasons(*addresses), strict=True)) == expected


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_the_index_of_a_tar_is_that_of_the_standard_library(shop: Shop, form: int):
    path = shop.folder / "x.tar"
    names = ["a.jpg", "n" * 90 + "/" + "m" * 90 + ".jpg"] + ([] if form == tarfile.USTAR_FORMAT else ["\u670d" * 80])
    with tarfile.open(path, "w", format=form) as archive:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = 700 * number
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    with tarfile.open(path) as archive, path.open("rb") as file:
        expected = {m.name: (m.offset_data, m.size) for m in archive.getmembers()}
        assert dict(archives._tar_members(file)) == expected


def test_a_column_of_local_addresses_is_distinct_and_has_no_signatures(shop: Shop):
    address = shop.put("a?Signature=1&Expires=2&Key-Pair-Id=3.jpg")
    other = shop.put("a?Signature=9&Expires=2&Key-Pair-Id=3.jpg", seed=1)
    report = fetch(pa.array([address, other, address]), shop.store, FetchSettings(picture_folders=(str(shop.folder),)))
    assert (report.urls, report.reasons) == (2, {"ok": 2})
