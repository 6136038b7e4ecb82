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

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]
SocketMaker = Callable[[int, int, int], socket.socket]

# URLs that are already written as yarl would write them, as nearly all of a shop's are: taken apart here in a fifth of
# yarl's time. The tests hold that it changes nothing.
_PLAIN = re.compile(
    r"(https?)://((?:[a-z0-9]+(?:-+[a-z0-9]+)*\.)+[a-z]{2,24}|(?:\d{1,3}\.){3}\d{1,3})(?::([1-9]\d{1,4}))?"
    r"((?:/[A-Za-z0-9_~+,=-][A-Za-z0-9_~+,=.-]*)+)"
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LONGEST = 8000  # characters

# IPv6 prefixes whose last 32 bits are an IPv4 address that the packet really goes to.
_IPV4_CARRIERS = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))


class PrivateAddressError(Exception):
    """The address is not on the public internet and was not allowed.

    Not an OSError on purpose: aiohttp would take it for an unreachable address and try the name's next one.
    """


def is_public(address: IPAddress) -> bool:
    """Whether a packet to `address` leaves for the public internet.

    False for loopback, private, shared (100.64/10), link-local (cloud metadata is 169.254.169.254), multicast,
    reserved and unspecified addresses, and for every IPv6 form that carries such an IPv4 address inside.
    """
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if address.teredo is not None:
            return False  # a tunnel to a client behind a NAT: no shop's picture host
        if embedded is None and any(address in network for network in _IPV4_CARRIERS):
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(embedded)
        if address.is_site_local:
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
    """Where one request goes: a URL as aiohttp understands it, taken apart."""

    url: str
    scheme: str  # http or https
    host: str  # a name, or an address without brackets
    port: int
    path: str  # with the query, as it is sent

    @property
    def host_port(self) -> str:
        """`host:port`, the form in which hosts are allowed, queued and counted."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def target(url: str | URL) -> Target | None:
    """What is asked where for a URL, or None where it must not be fetched (`bad_url`).

    http and https only, absolute, without user name or password, at most 8,000 characters.
    """
    if isinstance(url, str) and (plain := _PLAIN.fullmatch(url)) is not None and len(url) <= _LONGEST:
        scheme, host, port, path = plain.groups()
        number = _DEFAULT_PORTS[scheme] if port is None else int(port)
        return Target(url, scheme, host, number, path) if number < 2**16 else None
    try:
        parsed = url if isinstance(url, URL) else URL(url.strip())
        scheme, host, number = parsed.scheme, parsed.host, parsed.port
    except ValueError:
        return None
    if scheme not in _DEFAULT_PORTS or not host or not number or " " in host or not host.isprintable():
        return None
    if parsed.raw_user is not None or parsed.raw_password is not None or len(str(parsed)) > _LONGEST:
        return None
    return Target(str(parsed), scheme, host, number, parsed.raw_path_qs)


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
    return aiohttp.TCPConnector(limit=0, happy_eyeballs_delay=None, socket_factory=guarded, resolver=resolver)


def open_connector() -> aiohttp.TCPConnector:
    """A connector without the guard, only for `host:port` pairs that the user allowed by name."""
    return aiohttp.TCPConnector(limit=0)
