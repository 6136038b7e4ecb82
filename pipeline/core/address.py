"""Which addresses may be talked to: the guard between URLs written by strangers and the machine's own network.

The check sits where the socket is made, because only there the real address is known: aiohttp does not ask a
resolver about address literals, and a name may resolve to something else each time. What is done with an answer
belongs to `transfer.py`.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Collection
from typing import Any, NamedTuple
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from pipeline.core.names import Names

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]
SocketMaker = Callable[[int, int, int], socket.socket]

# URLs whose host is already written as yarl would write it, as nearly all of a shop's are: taken apart here in a fifth
# of yarl's time. The tests hold that it changes nothing.
_PLAIN = re.compile(
    r"(https?)://((?:[a-z0-9]+(?:-+[a-z0-9]+)*\.)+[a-z]{2,24}|(?:\d{1,3}\.){3}\d{1,3})(?::([1-9]\d{1,4}))?"
    r"(/[!\"$-~]*)"
)
_PARTS = re.compile(r"(https?)://([^/?#\\]*)([^#]*)", re.IGNORECASE | re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# What no request line can hold. Everything else is sent as it was written: a signature may be over the exact text.
_UNSENDABLE = re.compile(rb"[\x00-\x20\x7f-\xff]")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LONGEST = 8000  # characters

# IPv6 prefixes whose last 32 bits are an IPv4 address that the packet really goes to.
_IPV4_CARRIERS = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
_ISATAP = 0x5EFE  # RFC 5214, 6.1: an interface identifier of 00-00-5E-FE or 02-00-5E-FE, then an IPv4 address
_ISATAP_MASK = 0xFDFFFFFF
# All that is handed out of IPv6 (RFC 4291, 2.4). What lies outside is special, and so are these ranges within it, by
# IANA's registry of special-purpose addresses; `ipaddress` knows the fewer of them the older Python is.
_UNICAST = ipaddress.IPv6Network("2000::/3")
_SPECIAL = (
    ipaddress.IPv6Network("2001::/23"),  # Teredo, benchmarks, ORCHID, drones
    ipaddress.IPv6Network("2001:db8::/32"),  # documentation, as the next
    ipaddress.IPv6Network("3fff::/20"),
)


class PrivateAddressError(Exception):
    """The address is not on the public internet and was not allowed.

    Not an OSError on purpose: aiohttp would take it for an unreachable address and try the name's next one.
    """


def is_public(address: IPAddress) -> bool:
    """Whether a packet to `address` leaves for the public internet.

    False for loopback, private, shared (100.64/10), link-local (cloud metadata is 169.254.169.254), multicast,
    reserved, documentation and unspecified addresses, for what a network translates for itself (64:ff9b:1::/48,
    ::ffff:0:0:0/96), and for every IPv6 form that carries such an IPv4 address inside.
    """
    if isinstance(address, ipaddress.IPv6Address):
        last = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        embedded = address.ipv4_mapped or address.sixtofour
        if embedded is None and any(address in network for network in _IPV4_CARRIERS):
            embedded = last
        if embedded is not None:
            return is_public(embedded)
        if address not in _UNICAST or any(address in network for network in _SPECIAL):
            return False
        if (int(address) >> 32) & _ISATAP_MASK == _ISATAP and not is_public(last):
            return False
    return address.is_global and not address.is_multicast


def literal_address(host: str) -> IPAddress | None:
    """The address that `host` spells, also in the old forms `2130706433`, `127.1` and `0x7f.1`; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


class Target(NamedTuple):
    """Where one request goes: a URL taken apart, its path and query character for character as they were written."""

    url: str  # without a fragment
    scheme: str  # http or https
    host: str  # a name, or an address without brackets
    port: int
    path: str  # with the query, as it is sent

    @property
    def host_port(self) -> str:
        """`host:port`, the form in which hosts are allowed, queued and counted."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def exact(self) -> URL:
        """The URL for aiohttp, which sends one that is marked as encoded without rewriting its escapes."""
        return URL(self.url, encoded=True)


def target(url: str | URL) -> Target | None:
    """What is asked where for a URL, or None where it must not be fetched (`bad_url`).

    http and https only, absolute, without user name or password, at most 8,000 characters. Path and query stay as they
    are written; only what cannot be sent (blanks, control characters, non-ASCII) is escaped.
    """
    text = str(url)
    if (plain := _PLAIN.fullmatch(text)) is not None and len(text) <= _LONGEST:
        scheme, host, port, path = plain.groups()
        number = _DEFAULT_PORTS[scheme] if port is None else int(port)
        return Target(text, scheme, host, number, path) if number < 2**16 else None
    parts = _PARTS.match(_without_breaks(text))
    if parts is None:
        return None
    try:
        parsed = URL(f"{parts[1].lower()}://{parts[2]}")
        scheme, host, number, path = parsed.scheme, parsed.host, parsed.port, _sendable(parts[3])
    except ValueError:
        return None
    if not host or not number or " " in host or not host.isprintable():
        return None
    if parsed.raw_user is not None or parsed.raw_password is not None:
        return None
    path = path if path.startswith("/") else f"/{path}"
    exact = f"{parsed.origin()!s}{path}"
    return Target(exact, scheme, host, number, path) if len(exact) <= _LONGEST else None


def redirected(location: str, asked: Target) -> Target | None:
    """Where a `Location` header leads from `asked`; None where it must not be followed.

    An absolute address or path is asked as it is written; a relative one is joined to the path (RFC 3986, 5.2).
    """
    text = _without_breaks(location).partition("#")[0]
    if _SCHEME.match(text):
        return target(text)
    if text.startswith("//"):
        return target(f"{asked.scheme}:{text}")
    before = asked.path.partition("?")[0]
    if not text:
        path = asked.path
    elif text.startswith("?"):
        path = before + text
    elif text.startswith("/"):
        path = text
    else:
        relative, mark, query = text.partition("?")
        path = urljoin(before, relative) + mark + query
    return target(asked.url.removesuffix(asked.path) + path)


def _without_breaks(text: str) -> str:
    """The text as browsers read an address: without blanks around it, and without tabs and line breaks within."""
    return text.strip().translate({ord(c): None for c in "\t\r\n"})


def _sendable(text: str) -> str:
    """The text with only those bytes escaped that a request line cannot hold. Raises ValueError for half characters."""
    if text.isascii() and text.isprintable() and " " not in text:
        return text
    # aiohttp hands a header's bytes on as surrogates where they are not UTF-8.
    raw = text.encode("utf-8", "surrogateescape")
    return _UNSENDABLE.sub(lambda found: b"%%%02X" % found[0][0], raw).decode("ascii")


def guarded_connector(
    allow: Collection[str],
    make_socket: SocketMaker = socket.socket,
    resolver: AbstractResolver | None = None,
) -> aiohttp.TCPConnector:
    """A connector that makes no socket towards an address that is neither public nor in `allow` as `address:port`.

    A refused address raises PrivateAddressError before a socket exists. Names are allowed by `transfer.py`, which
    sends those through `open_connector`; here only the address counts, whatever name led to it.
    """

    def guarded(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, where = info
        address = ipaddress.ip_address(str(where[0]))
        shown = f"[{address}]:{where[1]}" if address.version == 6 else f"{address}:{where[1]}"
        if shown not in allow and not is_public(address):
            raise PrivateAddressError(f"{shown} is not a public address (ATELIER_ALLOW_HOSTS may name it)")
        return make_socket(int(family), int(kind), protocol)

    # Without happy eyeballs, which would swallow the refusal and go on to the name's other addresses.
    return aiohttp.TCPConnector(
        limit=0, happy_eyeballs_delay=None, socket_factory=guarded, resolver=resolver or Names()
    )


def open_connector() -> aiohttp.TCPConnector:
    """A connector without the guard, only for `host:port` pairs that the user allowed by name."""
    return aiohttp.TCPConnector(limit=0, resolver=Names())
