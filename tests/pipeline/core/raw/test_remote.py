"""Remote inputs over real sockets on loopback: a file is complete or missing, and never fetched twice."""

import functools
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.core.address import guarded_connector
from pipeline.core.durable import sole_writer
from pipeline.core.errors import InputError, UnreachableError
from pipeline.core.raw import copies, download, remote
from pipeline.core.raw.copies import ServerVersion
from pipeline.core.raw.remote import RemoteSettings, data_version, fetch_to_cache
from tests.pipeline.core.fault_server import FaultServer
from tests.pipeline.core.file_server import FileServer, Served
from tests.pipeline.core.test_address import Recorder

DATA = bytes(range(256)) * 40
# What only a user may name, never a server.
OF_USERS = ["postgresql://h/shop?table=a", "sqlite:////data/shop.db", "s3://shop/a.csv"]
OLD = "Mon, 01 Jan 2024 00:00:00 GMT"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as running:
        yield running


class Cache:
    """A cache folder with its settings; `said` lists the warnings."""

    def __init__(self, folder: Path, server: FileServer, **changes: object) -> None:
        self.folder, self.server, self.said = folder, server, list[str]()
        self.settings = replace(RemoteSettings(allow_hosts=frozenset({server.host}), backoff=0.0), **changes)

    def fetch(self, path: str = "reviews.json.gz") -> Path:
        """Fetch, reporting every piece to the server, so that it breaks off exactly where requested."""
        url = self.server.url(path)
        return fetch_to_cache(url, self.folder, self.settings, on_progress=self.server.received, warn=self.said.append)

    def version(self, path: str = "reviews.json.gz") -> str:
        return data_version(self.server.url(path), self.folder, self.settings, self.said.append)

    def names(self) -> set[str]:
        return {path.name for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture
def cache(tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setattr(download, "_PROGRESS_EVERY", 0.0)
    server.files["reviews.json.gz"] = Served(DATA)
    return Cache(tmp_path / "inputs", server)


@pytest.fixture
def served(cache: Cache, server: FileServer) -> Served:
    return server.files["reviews.json.gz"]


def test_a_new_url_is_downloaded_and_its_origin_recorded(cache: Cache, server: FileServer):
    path = cache.fetch("reviews.json.gz?signature=secret")
    assert path.read_bytes() == DATA
    assert path.name.endswith(".json.gz") and "reviews" not in str(path.relative_to(cache.folder))
    text = (path.parent / "origin.meta").read_text()
    origin = json.loads(text)
    assert origin["url"] == server.url("reviews.json.gz?...") and "secret" not in text
    assert (origin["bytes"], origin["version"]["etag"]) == (len(DATA), '"one"')
    assert path.name.startswith(origin["sha256"][:16])
    assert cache.names() == {path.name, "origin.meta", "lock"}
    assert server.asked[0].path.endswith("?signature=secret") and cache.said == []


def test_an_unchanged_file_is_not_downloaded_again(cache: Cache, server: FileServer):
    first = cache.fetch()
    assert cache.fetch() == first
    assert [(a.status, a.headers.get("if-none-match")) for a in server.asked] == [(200, None), (304, '"one"')]


def test_a_file_without_an_etag_is_requested_by_its_date(cache: Cache, server: FileServer, served: Served):
    served.etag, served.last_modified = None, OLD
    assert cache.fetch() == cache.fetch()
    assert [(a.status, a.headers.get("if-modified-since")) for a in server.asked] == [(200, None), (304, OLD)]


def test_a_changed_file_replaces_the_old_one(cache: Cache, server: FileServer, served: Served):
    first = cache.fetch()
    served.data, served.etag = b"new", '"two"'
    second = cache.fetch()
    assert second.read_bytes() == b"new"
    assert not first.exists()
    assert cache.names() == {second.name, "origin.meta", "lock"}
    assert server.bodies == 2


@pytest.mark.parametrize("etag", ['"one"', None])
def test_a_broken_download_resumes(cache: Cache, server: FileServer, served: Served, etag):
    served.etag, served.last_modified = etag, OLD
    served.cuts = [1000, 500]
    assert cache.fetch().read_bytes() == DATA
    assert [(a.status, a.headers.get("range")) for a in server.asked] == [
        (200, None), (206, "bytes=1000-"), (206, "bytes=1500-"),
    ]  # fmt: skip
    assert server.asked[1].headers["if-range"] == (etag or OLD)


def test_the_next_run_resumes_a_download(cache: Cache, server: FileServer, served: Served):
    served.cuts = [1000]
    impatient = Cache(cache.folder, server, retries=0)
    with pytest.raises(InputError, match=r"broke off after 1,000 of 10,240 bytes .* \(1,000 bytes are here"):
        impatient.fetch()
    assert "origin.meta" not in cache.names()
    assert cache.fetch().read_bytes() == DATA
    assert server.asked[1].headers["range"] == "bytes=1000-"


def test_a_server_without_ranges_sends_the_file_from_its_start(cache: Cache, server: FileServer, served: Served):
    served.understands_ranges, served.cuts = False, [1000]
    assert cache.fetch().read_bytes() == DATA
    assert [a.status for a in server.asked] == [200, 200]


@pytest.mark.parametrize("understood", [True, False])
@pytest.mark.parametrize("new", [DATA[::-1], b"x" * 500, b"x" * 20_000])
def test_a_file_that_changed_meanwhile_is_downloaded_from_its_start(
    cache: Cache, server: FileServer, served: Served, understood, new
):
    served.cuts = [1000]
    with pytest.raises(InputError):
        Cache(cache.folder, server, retries=0).fetch()
    served.data, served.etag, served.understands_if_range = new, '"two"', understood
    assert cache.fetch().read_bytes() == new
    assert server.asked[1].headers["range"] == "bytes=1000-"


@pytest.mark.parametrize(
    ("etag", "last_modified"), [('W/"weak"', None), (None, None), (None, "a day in spring"), ('W/"weak"', OLD)]
)
def test_a_download_without_a_strong_validator_is_not_resumed(cache, server, served, etag, last_modified):
    served.etag, served.last_modified, served.cuts = etag, last_modified, [1000]
    assert cache.fetch().read_bytes() == DATA
    assert [a.headers.get("range") for a in server.asked] == [None, None]


def test_a_date_in_the_second_of_the_response_is_no_validator():
    assert ServerVersion(last_modified=OLD, date=OLD).if_range is None
    assert ServerVersion(last_modified=OLD, date="Mon, 01 Jan 2024 00:00:01 GMT").if_range == OLD


def test_a_range_that_ends_early_is_not_the_rest_of_the_file(cache: Cache, server: FileServer, served: Served):
    served.cuts, served.range_bytes = [1000], 4000
    assert cache.fetch().read_bytes() == DATA
    assert [a.headers.get("range") for a in server.asked[1:]] == ["bytes=1000-", "bytes=5000-", "bytes=9000-"]


@pytest.mark.parametrize("start", [0, 999, 1001])
def test_a_range_with_another_start_is_not_appended(cache, server, served, start):
    served.cuts, served.range_start = [1000], start
    assert cache.fetch().read_bytes() == DATA
    assert [a.status for a in server.asked] == [200, 206, 200]


def test_an_unrequested_304_makes_no_file(cache: Cache, served: Served):
    served.cuts = [1000]
    with pytest.raises(InputError):
        Cache(cache.folder, cache.server, retries=0).fetch()
    served.statuses = [304]
    with pytest.raises(InputError, match="HTTP 304"):
        cache.fetch()
    assert "origin.meta" not in cache.names()


def test_a_file_shorter_than_announced_is_never_accepted(cache: Cache, server: FileServer, served: Served):
    served.excess = 7
    with pytest.raises(InputError, match=r"reviews\.json\.gz: the download broke off after 10,240 of 10,247 bytes"):
        cache.fetch()
    assert "origin.meta" not in cache.names()
    assert len(server.asked) > 1


@pytest.mark.parametrize("cut", [[], [5000]])
def test_a_chunked_file_is_complete_only_with_its_last_chunk(cache: Cache, server: FileServer, served: Served, cut):
    served.length, served.cuts = "chunked", list(cut)
    assert cache.fetch().read_bytes() == DATA
    assert [a.headers.get("range") for a in server.asked] == [None, *["bytes=4994-"] * len(cut)]
    assert cache.said == []


def test_a_file_of_unknown_length_gives_a_warning(cache: Cache, served: Served):
    served.length = "unknown"
    assert cache.fetch().read_bytes() == DATA
    (said,) = cache.said
    assert "announces no length" in said and "10,240 bytes came" in said


def test_silence_within_a_file_counts_as_broken_off(cache: Cache, server: FileServer, served: Served):
    served.hangs = [1000]
    assert Cache(cache.folder, server, stall_timeout=0.1).fetch().read_bytes() == DATA
    assert server.asked[1].headers["range"] == "bytes=1000-"


def test_an_empty_file_is_no_input(cache: Cache, served: Served):
    served.data = b""
    with pytest.raises(InputError, match=r"reviews\.json\.gz: the file is empty"):
        cache.fetch()


def test_an_unsupported_content_coding_is_refused(cache: Cache, served: Served):
    served.encoding = "br"
    with pytest.raises(InputError, match="sent as br, which is not read"):
        cache.fetch()


def test_a_missing_file_is_named_with_status_and_remedy_and_requested_once(cache: Cache, server: FileServer):
    with pytest.raises(InputError, match=rf"^{server.url('none.json')}: the server answers HTTP 404; check the"):
        cache.fetch("none.json")
    assert len(server.asked) == 1


def test_a_deleted_file_is_an_error_that_names_the_copy(cache: Cache, server: FileServer):
    path = cache.fetch()
    del server.files["reviews.json.gz"]
    with pytest.raises(InputError, match=rf"HTTP 404; .* \({path}\), give its path"):
        cache.fetch()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_access_says_what_would_help(cache: Cache, served: Served, status):
    served.statuses = [status]
    with pytest.raises(InputError, match=rf"HTTP {status}; give a signed URL, or download the file"):
        cache.fetch()


@pytest.mark.parametrize("statuses", [[503], [429, 500, 408, 502, 504]])
def test_a_busy_server_gets_another_request(cache: Cache, server: FileServer, served: Served, statuses):
    served.statuses = list(statuses)
    assert cache.fetch().read_bytes() == DATA
    assert [a.status for a in server.asked] == [*statuses, 200]


def test_waits_double_up_to_a_cap_and_obey_the_server(cache: Cache, server: FileServer, served: Served, monkeypatch):
    waits: list[float] = []

    async def noted(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(download.asyncio, "sleep", noted)
    served.statuses = [503] * 4
    Cache(cache.folder, server, backoff=1.0, backoff_cap=3.0).fetch()
    served.statuses, served.retry_after = [429], "2"
    Cache(cache.folder / "other", server, backoff=1.0).fetch()
    assert waits == [1.0, 2.0, 3.0, 3.0, 2.0]


def test_attempts_with_progress_do_not_count_as_failed(cache: Cache, server: FileServer, served: Served, monkeypatch):
    monkeypatch.setattr(download, "_GAIN", 1000)
    served.cuts = [1000] * 8
    assert Cache(cache.folder, server, retries=1).fetch().read_bytes() == DATA
    served.data, served.etag, served.cuts = DATA[::-1], '"two"', [400] * 8
    with pytest.raises(InputError, match=r"broke off after 800 of .* \(attempts: 2\)"):
        Cache(cache.folder / "other", server, retries=1).fetch()


def test_redirects_are_followed_and_the_query_reaches_the_end(cache: Cache, server: FileServer):
    server.files["a"] = Served(location="/b?to=c%2Fd&sig=a%3D")
    server.files["b"] = Served(location=server.url("reviews.json.gz"))
    assert cache.fetch("a").read_bytes() == DATA
    assert [a.path for a in server.asked] == ["a", "b?to=c%2Fd&sig=a%3D", "reviews.json.gz"]


def test_redirects_without_end_are_refused(cache: Cache, server: FileServer):
    server.files["a"] = Served(location="/a")
    with pytest.raises(InputError, match="more than 5 redirects"):
        cache.fetch("a")
    assert len(server.asked) == 6


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(download, "guarded_connector", functools.partial(guarded_connector, make_socket=recorder))
    return recorder


def test_a_redirect_to_a_private_address_makes_no_socket(cache: Cache, server: FileServer, sockets: Recorder):
    with FileServer() as other:
        for onward in (other.url("x"), "http://169.254.169.254/latest", "http://10.0.0.1/x", "http://[::1]:80/x"):
            server.files["a"] = Served(location=onward)
            with pytest.raises(InputError, match=r"/a: leads to .* is not a public address \(ATELIER_ALLOW_HOSTS"):
                cache.fetch("a")
    assert (sockets.asked, other.asked) == (0, [])
    server.files["a"] = Served(location="http://8.8.8.8/x")
    with pytest.raises(InputError, match=r"no answer from 8\.8\.8\.8:80"):
        Cache(cache.folder, server, retries=0).fetch("a")
    assert sockets.asked == 1


def test_a_private_address_of_the_users_own_must_be_allowed_too(cache: Cache, server: FileServer, sockets: Recorder):
    with pytest.raises(InputError, match=r"127\.0\.0\.1:\d+ is not a public address \(ATELIER_ALLOW_HOSTS may name it"):
        Cache(cache.folder, server, allow_hosts=frozenset()).fetch()
    assert (sockets.asked, server.asked) == (0, [])


@pytest.mark.parametrize("onward", ["ftp://127.0.0.1/x", "http://me:pw@127.0.0.1/x", "file:///etc/hosts", *OF_USERS])
def test_a_redirect_to_an_unusable_url_is_refused(cache: Cache, server: FileServer, onward):
    server.files["a"] = Served(location=onward)
    with pytest.raises(InputError, match="redirects to what is no http"):
        cache.fetch("a")


def test_a_password_in_a_url_is_refused_and_not_repeated(tmp_path: Path):
    for url in ("http://me:secret@shop.example/x.json", "http://shop.example:secret/x.json"):
        with pytest.raises(InputError, match="without user name and password") as refused:
            fetch_to_cache(url, tmp_path)
        assert "secret" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_without_a_connection_the_copy_is_used_with_a_warning_of_its_age(cache: Cache, server: FileServer, monkeypatch):
    path, version = cache.fetch(), cache.version()
    server.close()
    monkeypatch.setattr(copies.time, "time", lambda now=copies.time.time: now() + 3 * 86_400)
    assert (cache.fetch(), cache.version()) == (path, version)
    assert len(cache.said) == 2
    for said in cache.said:
        assert said.startswith(server.url("reviews.json.gz")) and str(path) in said
        assert "no answer from" in said and "was fetched 3 days ago" in said


def test_a_server_error_counts_as_no_connection(cache: Cache, served: Served):
    path = cache.fetch()
    served.statuses = [503] * 9
    assert cache.fetch() == path
    assert "HTTP 503 (attempts: 2); using the copy" in cache.said[0]


def test_without_a_connection_and_a_copy_the_url_and_the_remedy_are_named(cache: Cache, server: FileServer):
    server.close()
    for ask in (cache.fetch, cache.version):
        with pytest.raises(
            InputError, match=rf"^{server.url('reviews.json.gz')}: no answer from {server.host} .*check"
        ):
            ask()


def test_a_copy_that_lost_bytes_is_fetched_again(cache: Cache, server: FileServer):
    path = cache.fetch()
    path.write_bytes(DATA[:-1])
    assert cache.fetch().read_bytes() == DATA
    assert server.bodies == 2


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.core.raw import copies, remote
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
setattr({where}, die)
remote.fetch_to_cache(sys.argv[1], Path(sys.argv[2]), remote.RemoteSettings(allow_hosts=frozenset([sys.argv[3]])))
"""


def killed(where: str, cache: Cache) -> None:
    """Fetch in a process that dies by SIGKILL where the named function is called."""
    command = [sys.executable, "-c", KILLED.format(where=where), cache.server.url("reviews.json.gz")]
    done = subprocess.run([*command, str(cache.folder), cache.server.host], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("earlier", [False, True])
def test_a_download_killed_before_the_rename_needs_no_more_bytes(cache, server, served, earlier):
    if earlier:
        cache.fetch()
        served.data, served.etag = DATA[::-1], '"two"'
    killed("copies.CopyFolder, 'finish_download'", cache)
    bodies = server.bodies
    assert cache.fetch().read_bytes() == served.data
    assert (server.asked[-1].status, server.asked[-1].headers["if-none-match"]) == (304, served.etag)
    assert server.bodies == bodies and len(cache.names()) == 3


@pytest.mark.parametrize("earlier", [False, True])
def test_a_download_killed_after_the_rename_leaves_the_earlier_copy(cache, server, served, earlier):
    first = cache.fetch() if earlier else None
    served.data, served.etag = DATA[::-1], '"two"'
    killed("copies.CopyFolder, 'record'", cache)
    held = copies.CopyFolder(cache.folder, server.url("reviews.json.gz"), ".json.gz").current()
    assert (held.path if held else None) == first and (first is None or first.read_bytes() == DATA)
    assert cache.fetch().read_bytes() == DATA[::-1]
    assert len(cache.names()) == 3


def test_a_complete_download_of_a_changed_file_is_not_used(cache: Cache, served: Served):
    killed("copies.CopyFolder, 'finish_download'", cache)
    served.data, served.etag = DATA[::-1], '"two"'
    assert cache.fetch().read_bytes() == DATA[::-1]


def test_two_processes_do_not_download_the_same_at_once(cache: Cache, server: FileServer):
    folder = copies.CopyFolder(cache.folder, server.url("reviews.json.gz"), ".json.gz").path
    with sole_writer(folder), pytest.raises(InputError, match="another process is downloading it; run again when"):
        cache.fetch()


def test_a_cache_that_cannot_be_written_is_named(cache: Cache):
    cache.folder.write_text("a file where the folder should be")
    with pytest.raises(InputError, match=rf"{cache.folder}/\w+ cannot be written .* make room"):
        cache.fetch()


def test_progress_is_told_in_bytes_and_at_the_end(cache: Cache, server: FileServer, served: Served):
    served.data, reports = DATA * 100, list[tuple[int, int | None]]()
    fetch_to_cache(server.url("reviews.json.gz"), cache.folder, cache.settings, lambda *now: reports.append(now))
    assert reports[-1] == (len(DATA) * 100, len(DATA) * 100)
    assert len(reports) > 2 and reports == sorted(reports)


def test_the_data_version_is_the_servers_and_costs_no_download(cache: Cache, server: FileServer, served: Served):
    first = cache.version()
    assert cache.version() == first
    served.etag = '"two"'
    second = cache.version()
    served.etag, served.last_modified = None, OLD
    third = cache.version()
    served.data += b"more"
    assert len({first, second, third, cache.version()}) == 4
    assert {a.method for a in server.asked} == {"HEAD"}
    assert not cache.folder.exists()


def test_a_server_without_head_is_asked_by_a_get_that_is_not_read(cache: Cache, server: FileServer, served: Served):
    first = cache.version()
    served.understands_head = False
    assert cache.version() == first
    assert [a.method for a in server.asked] == ["HEAD", "HEAD", "GET"]
    assert not cache.folder.exists()


def test_where_the_server_names_no_version_the_content_is_it_and_one_download_serves_a_run(cache, server, served):
    served.etag = None
    first = cache.version()
    path = cache.fetch()
    assert path.read_bytes() == DATA and cache.version() == first
    assert server.bodies == 1
    served.data = DATA[::-1]
    later = Cache(cache.folder, server, unversioned_fresh=0.0)
    assert later.version() != first
    assert later.fetch().read_bytes() == DATA[::-1]


def test_looking_before_the_work_downloads_nothing(cache: Cache, server: FileServer):
    remote.check(server.url("reviews.json.gz"), cache.folder, cache.settings)
    with pytest.raises(InputError, match="HTTP 404"):
        remote.check(server.url("none.json"), cache.folder, cache.settings)
    assert server.bodies == 0 and not cache.folder.exists()


SIGNED = "reviews.json.gz?X-Amz-Date={0}&X-Amz-Expires=900&X-Amz-Signature={0}&versionId=3"


def test_an_address_that_was_signed_anew_finds_its_copy_and_is_the_same_version(cache: Cache, server: FileServer):
    first, version = cache.fetch(SIGNED.format("20260101")), cache.version(SIGNED.format("20260101"))
    assert cache.fetch(SIGNED.format("20260202")) == first
    assert cache.version(SIGNED.format("20260202")) == version
    assert [asked.status for asked in server.asked if asked.method == "GET"] == [200, 304]
    assert server.asked[-1].path.endswith(SIGNED.format("20260202"))
    other = cache.fetch(SIGNED.format("20260202").replace("versionId=3", "versionId=4"))
    assert other != first


def test_a_url_known_without_its_query_goes_on_with_its_copy_and_asks_nobody(cache: Cache, server: FileServer):
    signed = SIGNED.format("20260101")
    path, version, asked = cache.fetch(signed), cache.version(signed), len(server.asked)
    assert cache.fetch("reviews.json.gz?...") == path
    assert cache.version("reviews.json.gz?...") == version
    assert len(server.asked) == asked
    assert all("known without its query" in said for said in cache.said)
    with pytest.raises(remote.QueryMissingError, match=r"other.json\?\.\.\.: known without its query"):
        cache.fetch("other.json?...")
    cache.fetch("reviews.json.gz?part=2")  # now there are two candidates
    with pytest.raises(remote.QueryMissingError):
        cache.fetch("reviews.json.gz?...")


@pytest.mark.parametrize("kind", ["interim/103", "interim/100/lf", "status_drip", "slow_head", "stalled"])
def test_a_host_that_never_comes_to_its_answer_is_left_after_the_stall_limit(tmp_path: Path, kind: str) -> None:
    with FaultServer() as host:
        settings = RemoteSettings(allow_hosts=frozenset({host.host}), stall_timeout=0.2, retries=1, backoff=0.0)
        with pytest.raises(UnreachableError, match=r"silent for too long|broke off"):
            fetch_to_cache(host.url(kind), tmp_path, settings)
