"""Test which bytes a checked connection passes on, with stand-ins for the socket's transport and the parser."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.connections import CheckedConnection, request_observer

BODY = b"\xff\xd8 \r\n\r\nHTTP/1.1 200 OK\r\n\n\n a picture may hold anything"
ANSWER = b"HTTP/1.1 200 OK\r\nETag: x\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"%x\r\n" % len(BODY) + BODY + b"\r\n1;a=b\r\nx\r\n0\r\nX-Trailer: y\r\n\r\n"
)  # fmt: skip
HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
REQUEST = b"GET /1.jpg HTTP/1.1\r\nHost: h\r\n\r\n"


class Wire(asyncio.Transport):
    """Stands in for the socket's transport."""

    def __init__(self) -> None:
        super().__init__()
        self.sent, self.closed, self.reads = b"", False, True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


class Parser(asyncio.Protocol):
    """Stands in for aiohttp's protocol."""

    def __init__(self) -> None:
        self.got = b""

    def data_received(self, data: bytes) -> None:
        self.got += data


class Client:
    """A request observer that records its events."""

    host = "shop.example:80"

    def __init__(self) -> None:
        self.bytes = 0
        self.surpluses: list[tuple[str, bool]] = []

    def request_sent(self, reused: bool) -> None:
        self.bytes, self.reused = 0, reused

    def received(self, size: int) -> None:
        self.bytes += size

    def surplus_received(self, host: str, reused: bool) -> None:
        self.surpluses.append((host, reused))


class Setting:
    """A connection between the two, on which a request was sent."""

    def __init__(self, request: bytes = REQUEST) -> None:
        self.wire, self.parser, self.client = Wire(), Parser(), Client()
        self.connection = CheckedConnection(self.parser)
        self.connection.connection_made(self.wire)
        if request:
            self.ask(request)

    def ask(self, request: bytes = REQUEST) -> None:
        token = request_observer.set(self.client)
        self.connection.write(request)
        request_observer.reset(token)

    def receive(self, data: bytes, *cuts: int) -> None:
        """Receive in pieces while the connection is open."""
        for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
            if start < end and not self.wire.closed and self.wire.reads:
                self.connection.data_received(data[start:end])


def cut(data: bytes) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, len(data)), max_size=6).map(sorted)


@pytest.mark.parametrize("answer", [ANSWER, CHUNKED])
@given(st.data())
def test_the_parser_gets_only_the_response_for_any_split_of_the_bytes(answer: bytes, data: st.DataObject) -> None:
    behind = data.draw(st.sampled_from([b"", b"\r\n", b"x", ANSWER]))
    stream = 2 * HINT + answer + behind
    at = Setting()
    at.receive(stream, *data.draw(cut(stream)))
    assert at.parser.got == answer
    assert at.client.bytes == len(answer)
    assert at.wire.closed == bool(behind)
    assert at.client.surpluses == ([("shop.example:80", False)] if behind else [])


def test_a_connection_carries_several_responses_in_turn() -> None:
    at = Setting()
    for answer in (ANSWER, CHUNKED, ANSWER):
        at.receive(answer)
        at.ask()
    at.receive(CHUNKED + b"x")
    assert at.parser.got == 2 * (ANSWER + CHUNKED)
    assert at.client.surpluses == [("shop.example:80", True)]


def test_bytes_before_the_first_request_are_dropped() -> None:
    at = Setting(request=b"")
    at.receive(ANSWER)
    assert (at.parser.got, at.wire.closed) == (b"", True)


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
def test_a_server_that_sends_endless_interim_responses_is_ignored(line_end: bytes) -> None:
    at = Setting()
    at.receive((b"HTTP/1.1 100 Continue" + 2 * line_end) * 10_000)
    at.connection.resume_reading()  # as the parser may do
    assert (at.parser.got, at.wire.reads, at.wire.closed) == (b"", False, False)


def test_an_endless_head_closes_the_connection() -> None:
    at = Setting()
    at.receive(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000)
    assert (at.parser.got, at.wire.closed) == (b"", True)


DOUBTFUL = [
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: y\r\n Content-Length: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 1\n\n",
    b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
]


@pytest.mark.parametrize("head", DOUBTFUL)
def test_a_connection_with_an_ambiguous_response_end_is_not_kept(head: bytes) -> None:
    at = Setting()
    at.receive(head + b"x")
    assert at.parser.got.endswith(b"x")
    assert b"\nConnection: close\r\n" in at.parser.got


@pytest.mark.parametrize("request_", [REQUEST.replace(b"GET", b"HEAD"), REQUEST[:-2] + b"Connection: close\r\n\r\n"])
def test_a_connection_is_not_kept_if_the_request_says_so_or_has_no_body(request_: bytes) -> None:
    at = Setting(request_)
    at.receive(ANSWER)
    assert b"\r\nConnection: close\r\n" in at.parser.got


def test_a_response_without_a_body_ends_with_its_head_whatever_it_announces() -> None:
    at = Setting()
    at.receive(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")
    at.ask()
    at.receive(ANSWER)
    assert at.parser.got.endswith(ANSWER) and not at.wire.closed


@pytest.mark.parametrize("body", [b"1\nx\r\n", b"1\r\nx\n", b"0x1\r\nx\r\n", b"0\r\n\n", b"-1\r\n", b"1\r\nxyz\r\n"])
def test_a_connection_with_ambiguous_chunks_is_not_reused(body: bytes) -> None:
    at = Setting()
    at.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    assert at.parser.got.endswith(body)  # the parser decides whether the response is valid
    assert at.connection.is_closing()


@pytest.mark.parametrize("marks", [b"1\r\nx\r\n" * 2000, b"1;" + b"a" * 10_000, b"0\r\n" + 2000 * b"X: y\r\n"])
def test_a_body_of_mostly_chunk_headers_closes_the_connection(marks: bytes) -> None:
    at = Setting()
    at.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + marks)
    assert at.wire.closed and not at.parser.got
