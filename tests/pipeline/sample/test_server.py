"""The picture server over real HTTP: healthy pictures, every fault, and a port in use."""

import http.client
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.sample.catalogue import SampleCatalogue
from pipeline.sample.server import FAULTS, PIXEL, Address, PortInUseError, fault_of, serve

Finder = Callable[[str | None], str]
BODY = b"\xff\xd8" + bytes(range(256)) * 20


def _stock(shelf: Path, *paths: str) -> None:
    for path in paths:
        (shelf / "pictures" / path.rpartition("/")[2]).write_bytes(BODY)


def _connect(address: Address, timeout: float = 10) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(address.host, address.port, timeout=timeout)


def _get(address: Address, path: str, **headers: str) -> tuple[int, bytes, str]:
    connection = _connect(address)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(), response.headers.get("Content-Type", "")
    finally:
        connection.close()


def test_a_healthy_path_returns_the_picture_and_keeps_the_connection(shelf: Path, path_with_fault: Finder) -> None:
    path = path_with_fault(None)
    _stock(shelf, path)
    with serve(shelf, 0) as address:
        connection = _connect(address)
        for _ in range(3):
            connection.request("GET", path)
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, BODY)
            assert response.version == 11
            sock = connection.sock
        assert sock is connection.sock is not None
        connection.close()


def test_an_unchanged_picture_is_answered_304(shelf: Path, path_with_fault: Finder) -> None:
    path = path_with_fault(None)
    _stock(shelf, path)
    with serve(shelf, 0) as address:
        connection = _connect(address)
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        etag = response.headers["ETag"]
        connection.close()
        assert _get(address, path, **{"If-None-Match": etag})[0] == 304


def test_a_missing_path_is_404_although_the_file_exists(shelf: Path, path_with_fault: Finder) -> None:
    path = path_with_fault("missing")
    _stock(shelf, path)
    with serve(shelf, 0) as address:
        assert _get(address, path)[0] == 404


def test_an_unavailable_path_is_always_503_and_a_busy_one_twice(shelf: Path, path_with_fault: Finder) -> None:
    always, twice = path_with_fault("unavailable"), path_with_fault("busy_twice")
    _stock(shelf, always, twice)
    with serve(shelf, 0) as address:
        assert [_get(address, always)[0] for _ in range(4)] == [503] * 4
        assert [_get(address, twice)[0] for _ in range(4)] == [503, 503, 200, 200]


def test_a_web_page_and_a_pixel_are_sent_with_status_200(shelf: Path, path_with_fault: Finder) -> None:
    page, pixel = path_with_fault("html"), path_with_fault("pixel")
    _stock(shelf, page, pixel)
    with serve(shelf, 0) as address:
        status, body, kind = _get(address, page)
        assert (status, kind.split(";")[0]) == (200, "text/html")
        assert body.startswith(b"<!DOCTYPE html>")
        assert _get(address, pixel) == (200, PIXEL, "image/gif")


def test_a_truncated_picture_announces_more_than_it_sends(shelf: Path, path_with_fault: Finder) -> None:
    path = path_with_fault("truncated")
    _stock(shelf, path)
    with serve(shelf, 0) as address:
        connection = _connect(address)
        connection.request("GET", path)
        response = connection.getresponse()
        assert int(response.headers["Content-Length"]) == len(BODY)
        with pytest.raises(http.client.IncompleteRead) as failure:
            response.read()
        assert failure.value.partial == BODY[: len(BODY) // 2]
        connection.close()


def test_a_hanging_path_never_answers_and_does_not_keep_the_server_from_stopping(
    shelf: Path, path_with_fault: Finder
) -> None:
    path = path_with_fault("hang")
    _stock(shelf, path, path_with_fault(None))
    with serve(shelf, 0) as address:
        connection = _connect(address, timeout=0.2)
        connection.request("GET", path)
        with pytest.raises(TimeoutError):
            connection.getresponse()
        assert _get(address, path_with_fault(None))[0] == 200  # the others are served meanwhile
    connection.close()


def test_nothing_outside_the_pictures_is_served(catalogue: SampleCatalogue) -> None:
    with serve(catalogue.folder, 0) as address:
        for path in ("/", "/truth.npz", "/images/I/../../truth.npz", "/images/I/..%2Ftruth.npz", "/images/I/"):
            assert _get(address, path)[0] == 404, path


def test_the_error_for_a_port_in_use_names_the_port_and_the_remedy(catalogue: SampleCatalogue) -> None:
    with serve(catalogue.folder, 0) as address:
        with pytest.raises(PortInUseError, match=rf"port {address.port} .* in use: stop .*--port"):
            serve(catalogue.folder, address.port).__enter__()
        command = [sys.executable, "-m", "pipeline.sample", "serve", "--catalogue", str(catalogue.folder)]
        run = subprocess.run([*command, "--port", str(address.port)], capture_output=True, text=True, check=False)
        assert run.returncode == 2
        assert f"port {address.port} on 127.0.0.1 is in use" in run.stderr
        assert "Traceback" not in run.stderr


def test_the_port_is_free_again_after_serving(catalogue: SampleCatalogue) -> None:
    with serve(catalogue.folder, 0) as address:
        pass
    with serve(catalogue.folder, address.port) as again:
        assert again.port == address.port
    with socket.socket() as probe:
        assert probe.connect_ex((address.host, address.port)) != 0


def test_the_error_for_a_folder_without_pictures_says_how_to_write_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"pipeline\.sample write"), serve(tmp_path, 0):
        pass


def test_six_per_cent_of_the_paths_are_broken_and_hangs_are_rare() -> None:
    assert sum(FAULTS.values()) == pytest.approx(0.06)
    assert FAULTS["hang"] <= 0.002
    faults = [fault_of(f"/images/I/{n}.jpg") for n in range(30_000)]
    for fault, share in FAULTS.items():
        assert faults.count(fault) / len(faults) == pytest.approx(share, rel=0.35)
