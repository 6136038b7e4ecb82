"""Parse URLs into request targets, and refuse connections from strangers' URLs to the machine's own network.

The check runs when the socket is made, because the real address is known only then: aiohttp does not ask a resolver
about address literals, and a name may resolve to something else each time.
"""

import functools
import ipaddress
import re
import socket
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple
from urllib.parse import urljoin

import aiohttp
import pyarrow as pa
import pyarrow.compute as pc
from aiohttp.abc import AbstractResolver
from yarl import URL

from pipeline.core.resolver import ThreadedResolver

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]
SocketMaker = Callable[[int, int, int], socket.socket]

# URLs whose host is already in yarl's normal form, as nearly all shops' URLs are. Parsing them here takes a fifth of
# yarl's time. The tests check that both give the same result.
_HOST = r"(?:[a-z0-9]+(?:-+[a-z0-9]+)*\.)+[a-z]{2,24}|(?:[0-9]{1,3}\.){3}[0-9]{1,3}"
_PORT, _PATH = "[1-9][0-9]{1,4}", r"/[!\"$-~]*"
_PLAIN = re.compile(f"(https?)://({_HOST})(?::({_PORT}))?({_PATH})")
_PLAIN_ORIGIN = f"^(?P<origin>https?://(?:{_HOST})(?::{_PORT})?){_PATH}$"  # for Arrow, whose patterns are RE2's
_PARTS = re.compile(r"(https?)://([^/?#\\]*)([^#]*)", re.IGNORECASE | re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# Bytes that a request line cannot hold. All others are sent unchanged, because a signature may cover the exact text.
_UNSENDABLE = re.compile(rb"[\x00-\x20\x7f-\xff]")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LONGEST = 8000  # characters

# IPv6 prefixes whose last 32 bits are the IPv4 address that the packet goes to.
_IPV4_CARRIERS = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
_ISATAP = 0x5EFE  # RFC 5214, 6.1: an interface identifier of 00-00-5E-FE or 02-00-5E-FE, then an IPv4 address
_ISATAP_MASK = 0xFDFFFFFF
# The only part of IPv6 that is allocated as global unicast (RFC 4291, 2.4); everything else is special. So are the
# ranges below, by IANA's registry of special-purpose addresses; older Pythons' `ipaddress` lacks some of them.
_UNICAST = ipaddress.IPv6Network("2000::/3")
_SPECIAL = (
    ipaddress.IPv6Network("2001::/23"),  # Teredo, benchmarks, ORCHID, drones
    ipaddress.IPv6Network("2001:db8::/32"),  # documentation, like the next
    ipaddress.IPv6Network("3fff::/20"),
)


class PrivateAddressError(Exception):
    """The address is neither on the public internet nor allowed.

    It is not an OSError, because aiohttp would then treat the address as unreachable and try the name's next one.
    """


def is_public(address: IPAddress) -> bool:
    """Return whether a packet to `address` leaves for the public internet.

    False for loopback, private, shared (100.64/10), link-local (cloud metadata is 169.254.169.254), multicast,
    reserved, documentation and unspecified addresses, for local translation prefixes (64:ff9b:1::/48,
    ::ffff:0:0:0/96), and for every IPv6 form that embeds such an IPv4 address.
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
    """Parse `host` as an address, also in the old forms `2130706433`, `127.1` and `0x7f.1`; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


class Target(NamedTuple):
    """The target of one request: a parsed URL whose path and query are exactly as they were written."""

    url: str  # without a fragment
    scheme: str  # http or https
    host: str  # a name, or an address without brackets
    port: int
    path: str  # with the query, as it is sent

    @property
    def host_port(self) -> str:
        """Return `host:port`, the form in which hosts are allowed, queued and counted."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def exact(self) -> URL:
        """Return the URL for aiohttp, marked as encoded so that aiohttp does not rewrite its escapes."""
        if "?" in self.path:
            return URL(self.url, encoded=True)
        # yarl parses the origin once; parsing every URL whole takes three times as long.
        return _origin(self.url.removesuffix(self.path)).with_path(self.path, encoded=True)


@functools.lru_cache(maxsize=1024)
def _origin(text: str) -> URL:
    return URL(text, encoded=True)


def target(url: str | URL) -> Target | None:
    """Parse a URL into a request target; None if it must not be fetched (`bad_url`).

    It must be absolute, http or https, without user name and password, and at most 8,000 characters long. Path and
    query stay as written, except that blanks, control characters and non-ASCII characters are escaped.
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


def host_ports(urls: pa.Array) -> Iterator[str | None]:
    """Iterate over the `host:port` of URLs, as `target` finds it; None for those that must not be fetched."""
    short = pc.less_equal(pc.utf8_length(urls), _LONGEST)
    plain = pc.struct_field(pc.extract_regex(urls, _PLAIN_ORIGIN), "origin")
    origins = pc.dictionary_encode(pc.if_else(short, plain, None))
    hosts = [_host_port(f"{origin}/") for origin in origins.dictionary.to_pylist()]
    for row, number in enumerate(origins.indices.to_pylist()):
        yield _host_port(urls[row].as_py()) if number is None else hosts[number]


def _host_port(url: str) -> str | None:
    asked = target(url)
    return None if asked is None else asked.host_port


def redirected(location: str, asked: Target) -> Target | None:
    """Resolve a `Location` header against the request `asked`; None if it must not be followed.

    Absolute URLs and paths are used as written; a relative path is joined to that of `asked` (RFC 3986, 5.2).
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
    """Remove surrounding blanks and all tabs and line breaks, as browsers do with an address."""
    return text.strip().translate({ord(c): None for c in "\t\r\n"})


def _sendable(text: str) -> str:
    """Escape only the bytes that a request line cannot hold. Raises ValueError for lone surrogates."""
    if text.isascii() and text.isprintable() and " " not in text:
        return text
    # aiohttp decodes header bytes that are not UTF-8 to surrogates.
    raw = text.encode("utf-8", "surrogateescape")
    return _UNSENDABLE.sub(lambda found: b"%%%02X" % found[0][0], raw).decode("ascii")


def guarded_connector(
    allow: Collection[str],
    make_socket: SocketMaker = socket.socket,
    resolver: AbstractResolver | None = None,
) -> aiohttp.TCPConnector:
    """Create a connector that only connects to addresses that are public or in `allow` as `address:port`.

    A refused address raises PrivateAddressError before a socket exists. Only the address counts, not the name that
    resolved to it; hosts that are allowed by name are fetched through `open_connector`.
    """

    def guarded(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, where = info
        address = ipaddress.ip_address(str(where[0]))
        shown = f"[{address}]:{where[1]}" if address.version == 6 else f"{address}:{where[1]}"
        if shown not in allow and not is_public(address):
            raise PrivateAddressError(f"{shown} is not a public address (ATELIER_ALLOW_HOSTS may name it)")
        return make_socket(int(family), int(kind), protocol)

    # Happy eyeballs would swallow the refusal and try the name's other addresses.
    return aiohttp.TCPConnector(
        limit=0, happy_eyeballs_delay=None, socket_factory=guarded, resolver=resolver or ThreadedResolver()
    )


def open_connector() -> aiohttp.TCPConnector:
    """Create a connector without the guard, only for `host:port` pairs that the user allowed by name."""
    return aiohttp.TCPConnector(limit=0, resolver=ThreadedResolver())
