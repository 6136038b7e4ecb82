"""Test the guard against the machine's own network, with a stand-in for the socket.

Nothing here connects anywhere: the stand-in takes note of the address and refuses.
"""

import asyncio
import contextlib
import ipaddress
import socket

import aiohttp
import pyarrow as pa
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from pipeline.core.address import (
    PrivateAddressError,
    guarded_connector,
    host_ports,
    is_public,
    literal_address,
    redirected,
    target,
)

PUBLIC = ["8.8.8.8", "52.94.236.248", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
NOT_PUBLIC = [
    "127.0.0.1", "127.8.9.10", "0.0.0.0", "10.0.0.1", "172.16.5.4", "192.168.1.1", "100.64.0.1", "169.254.169.254",
    "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1",
    "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:a00:1::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:0:808:808::1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808",
    "64:ff9b:1:fffe::7f00:1", "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8", "100::1", "100:0:0:1::1", "2001:2::1",
    "2001:10::1", "2001:20::1", "2001:30::1", "3fff::1", "5f00::1", "4000::1", "2606:4700::5efe:10.0.0.1",
    "2606:4700::200:5efe:127.0.0.1", "2002:c0a8:101::1", "192.0.0.1", "198.51.100.1", "203.0.113.1",
]  # fmt: skip


class Recorder:
    """Stands in for the socket: records the call, and raises."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, family: int, kind: int, protocol: int) -> socket.socket:
        self.asked += 1
        raise OSError("the test makes no socket")


class RebindingResolver(AbstractResolver):
    """A resolver with another answer each time, like a rebinding name server."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self.answers.pop(0)
        ]

    async def close(self) -> None:
        pass


def ask(url: str, *answers: list[str], allow: tuple[str, ...] = (), times: int = 1) -> tuple[list[type], int]:
    """Return the outcome of each of `times` requests, and the number of sockets that would have been made."""
    recorder = Recorder()

    async def run() -> list[type]:
        ends = []
        connector = guarded_connector(frozenset(allow), recorder, RebindingResolver(*answers))
        connector._use_dns_cache = False  # so that every request asks the resolver
        async with aiohttp.ClientSession(connector=connector) as session:
            for _ in range(times):
                try:
                    await session.get(url)
                except Exception as error:
                    ends.append(type(error))
        return ends

    return asyncio.run(run()), recorder.asked


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_no_socket_is_made_towards_an_address_that_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    literal = f"[{address}]" if ":" in address else address
    assert ask(f"http://{literal}/") == ([PrivateAddressError], 0)
    assert ask("http://shop.example/", [address]) == ([PrivateAddressError], 0)


@settings(max_examples=200)
@given(st.ip_addresses(v=4))
def test_ipv6_that_embeds_an_ipv4_address_is_as_public_as_that_address(address: ipaddress.IPv4Address) -> None:
    expected = address.is_global and not address.is_multicast
    assert is_public(address) == expected
    for carrier in (f"::ffff:{address}", f"64:ff9b::{address}", f"::{address}"):
        assert is_public(ipaddress.ip_address(carrier)) == expected


def test_a_socket_is_made_for_a_public_address() -> None:
    assert ask("http://shop.example/", ["8.8.8.8"]) == ([aiohttp.ClientConnectorError], 1)


def test_a_name_with_one_private_address_does_not_fall_back_to_its_others() -> None:
    assert ask("http://shop.example/", ["10.0.0.1", "8.8.8.8"]) == ([PrivateAddressError], 0)


def test_a_name_that_becomes_private_is_refused_at_its_next_request() -> None:
    ends = ask("http://shop.example/", ["8.8.8.8"], ["127.0.0.1"], times=2)
    assert ends == ([aiohttp.ClientConnectorError, PrivateAddressError], 1)


def test_an_allowed_address_is_allowed_on_its_port_only() -> None:
    allow = ("10.0.0.1:8877", "[::1]:8877")
    assert ask("http://10.0.0.1:8877/", allow=allow)[1] == 1
    assert ask("http://[::1]:8877/", allow=allow)[1] == 1
    assert ask("http://shop.example:8877/", ["10.0.0.1"], allow=allow)[1] == 1
    assert ask("http://10.0.0.1:8878/", allow=allow) == ([PrivateAddressError], 0)


@pytest.mark.parametrize("url", ["https://a.example/x.jpg", "http://a.example:8080/ü x.jpg?q=1", " http://8.8.8.8/ "])
def test_an_ordinary_url_is_parsed(url: str) -> None:
    assert target(url) is not None


@pytest.mark.parametrize(
    "url",
    ["", "x.jpg", "/x.jpg", "//a.example/x", "ftp://a.example/x", "data:,x", "javascript:1", "http://", "http:///x",
     "http://me@a.example/", "http://me:pw@a.example/", "http://:pw@a.example/", "http://a.example:0x50/",
     "http://a.example:99999/", "http://a b/", "http://a.example/" + "x" * 8000],
)  # fmt: skip
def test_a_url_that_must_not_be_fetched_is_none(url: str) -> None:
    assert target(url) is None


@pytest.mark.parametrize(
    ("host", "address"),
    [("2130706433", "127.0.0.1"), ("127.1", "127.0.0.1"), ("0x7f.1", "127.0.0.1"), ("017700000001", "127.0.0.1"),
     ("::1", "::1"), ("8.8.8.8", "8.8.8.8"), ("a.example", None)],
)  # fmt: skip
def test_every_spelling_of_an_address_is_parsed(host: str, address: str | None) -> None:
    assert literal_address(host) == (ipaddress.ip_address(address) if address else None)


@pytest.mark.parametrize(
    ("url", "expected"),
    [("http://A.example/x", "a.example:80"), ("https://a.example/", "a.example:443"), ("http://[::1]:9/", "[::1]:9")],
)
def test_a_host_is_named_with_its_port(url: str, expected: str) -> None:
    asked = target(url)
    assert asked is not None
    assert asked.host_port == expected


PATH = st.text("aZ09_~+,=.-/%?&;:@'()!$*[]{}|^`\"<>\\\\", max_size=30)
NAME = st.lists(st.text("ab09-", min_size=1, max_size=8), min_size=1, max_size=4).map(".".join)


@settings(max_examples=500)
@given(st.sampled_from(["http", "https"]), NAME | st.ip_addresses(v=4).map(str), st.integers(0, 70_000), PATH)
def test_the_fast_url_parser_agrees_with_yarl(scheme: str, host: str, port: int, path: str) -> None:
    shown = f":{port}" if port % 2 else ""
    asked = target(f"{scheme}://{host}{shown}/{path}")
    by_yarl = None
    with contextlib.suppress(ValueError):
        by_yarl = URL(f"{scheme}://{host}{shown}")
    if by_yarl is None or not by_yarl.host or not by_yarl.port:
        assert asked is None
    else:
        assert asked is not None
        assert asked[1:] == (scheme, by_yarl.host, by_yarl.port, f"/{path}")


EXACT = [
    "/a.jpg?response-content-type=image%2Fjpeg", "/a%28red%29.jpg", "/it%27s.jpg", "/a.jpg?k=AB%3A%40",
    "/t/http%3A%2F%2Fcdn.example%2Fi.jpg", "/a%20b%2B.jpg?k=%2B%3D", "/a%2e%2E/../b/./c", "/100%.jpg", "/a?x=1?y=/&&z",
    "/%7euser/%e2%82%ac", "/a|b^c`d{e}",
]  # fmt: skip


@pytest.mark.parametrize("path", ["", "/", "/a.jpg", "/a%2Fb c", "/a?b=c", "/?", "/a?x=1?y", "?q"])
@pytest.mark.parametrize("origin", ["http://a.example", "https://a.example:8443", "http://[2606:4700::1]"])
def test_the_url_for_aiohttp_has_the_parts_that_yarl_finds(origin: str, path: str) -> None:
    asked = target(origin + path)
    assert asked is not None
    whole = URL(asked.url, encoded=True)
    assert asked.exact == whole
    assert (asked.exact.raw_path, asked.exact.raw_query_string) == (whole.raw_path, whole.raw_query_string)


def test_the_hosts_of_many_urls_are_those_of_each() -> None:
    paths = ["", "/", "/a.jpg", "/ü x", "/a?b=c#d", "/" + "x" * 7990, "/" + "x" * 8000]
    origins = [
        "http://a.example",
        "https://a.example",
        "http://a.example:8080",
        "http://a.example:99999",
        "ftp://a.example",
    ]
    origins += [
        "HTTP://A.example",
        "http://u:p@a.example",
        "http://127.0.0.1:80",
        "http://[2606:4700::1]",
        "",
        " http://b.example ",
    ]
    urls = [origin + path for path in paths for origin in origins]
    asked = [target(url) for url in urls]
    assert list(host_ports(pa.array(urls)[3:])) == [one and one.host_port for one in asked[3:]]


@pytest.mark.parametrize("path", EXACT)
@pytest.mark.parametrize("origin", ["https://cdn.example", "http://CDN.example:8080", "http://[2606:4700::1]"])
def test_path_and_query_are_sent_as_written_also_after_a_redirect(origin: str, path: str) -> None:
    first = target(origin + path)
    assert first is not None
    other = redirected(f"http://b.example{path}", first)
    same_host = redirected(path, first)
    assert other is not None
    assert same_host is not None
    for asked in (first, other, same_host):
        assert asked.path == path
        assert asked.exact.raw_path_qs == path
    assert (same_host.host_port, other.host_port) == (first.host_port, "b.example:80")


@pytest.mark.parametrize(
    ("written", "path"),
    [("/ü x.jpg", "/%C3%BC%20x.jpg"), ("?q=ü%2F", "/?q=%C3%BC%2F"), ("", "/"), ("/a.jpg#part", "/a.jpg"),
     ("/a\n.jpg\t", "/a.jpg"), ("/\udcfc.jpg", "/%FC.jpg")],
)  # fmt: skip
def test_only_what_cannot_be_sent_is_escaped(written: str, path: str) -> None:
    asked = target("http://A.example" + written)
    assert asked is not None
    assert asked.path == path
    assert asked.url == f"http://a.example{path}"


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [("b.jpg?k=%2F", "http://a.example/x/b.jpg?k=%2F"), ("../b%2Fc.jpg", "http://a.example/b%2Fc.jpg"),
     ("?k=%3A", "http://a.example/x/y?k=%3A"), ("//b.example/z%28", "http://b.example/z%28"), ("#here", "http://a.example/x/y?q=1"),
     ("ftp://b.example/", None), ("mailto:x", None), ("http://me:pw@b.example/", None), ("data:,x", None)],
)  # fmt: skip
def test_a_location_resolves_as_in_rfc_3986(location: str, leads_to: str | None) -> None:
    asked = target("http://a.example/x/y?q=1")
    assert asked is not None
    onward = redirected(location, asked)
    assert (onward.url if onward else None) == leads_to
