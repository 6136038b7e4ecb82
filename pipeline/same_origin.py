"""Which requests Dagster's UI answers: those of its own pages and of programs on this machine, not of other sites.

Neither UI has a login, so a page of another site, open in the same browser, must not reach them: not under a foreign
name that resolves to loopback (DNS rebinding), not by a link or a form, not through a websocket. MLflow's server has a
guard of its own. Rules after OWASP's cheat sheet on cross-site request forgery and the Fetch Metadata specification.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse
from starlette.datastructures import Headers, QueryParams
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
LARGEST = 4 << 20  # bytes of a body that is read before it is let through; the UI's own are kilobytes
_SAFE = ("GET", "HEAD", "OPTIONS")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/@\[\]?#\\]+)(?::(\d{1,5}))?")
_PORTS = {"http": "80", "https": "443"}


def guarded(app: ASGIApp, hosts: Iterable[str] = ()) -> ASGIApp:
    """The app behind both guards; `hosts` are further names, `name` or `name:port`, that it may be asked by."""
    further = tuple(host.lower() for host in hosts)
    names = {_HOST.fullmatch(host)[1] for host in (*LOOPBACK, *further)}  # ty: ignore[not-subscriptable]
    names |= {name.strip("[]") for name in names}  # an IPv6 address with its brackets and without
    return TrustedHostMiddleware(SameOrigin(app, further), sorted(names), www_redirect=False)


class SameOrigin:
    """ASGI middleware: refuses what another site sends, and what changes something without a word whence it comes."""

    def __init__(self, app: ASGIApp, further: tuple[str, ...] = ()):
        self.app, self.further = app, further

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or hand on."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        why = self._foreign(scope, headers)
        if not why and scope["type"] == "http":
            if scope["method"] in _SAFE:
                if _mutates(QueryParams(scope["query_string"]).get("query")):
                    why = "a mutation is sent by POST, and this is one or cannot be read."
            elif not self._is_ours(headers):
                body, receive = await _read(receive)
                why = _unproved(scope, headers, body)
        if not why:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": why})
        else:
            await PlainTextResponse(f"refused: {why}\n", 403)(scope, receive, send)

    def _foreign(self, scope: Scope, headers: Headers) -> str:
        """Why a request is another site's; empty where it is not known to be."""
        host = headers.get("host", "").lower()
        if not scope["path"].startswith("/"):
            return "this is no proxy."
        if not _listed(host, (*LOOPBACK, *self.further)):
            return f"this server is not called {host}: name it in ATELIER_UI_HOSTS."
        for origin in headers.getlist("origin"):
            if not self._same(origin, host):
                return f"the page is of another site, {origin}: name a host of your own in ATELIER_UI_HOSTS."
        safe, graphql = scope.get("method", "GET") in _SAFE, "/graphql" in scope["path"]
        site = headers.get("sec-fetch-site", "")
        if site in ("cross-site", "same-site"):
            # A link to a page here may stand anywhere; what a page there loads, posts or frames may not be here.
            link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
            if not (link and safe and not graphql and scope["type"] == "http"):
                return "the page is of another site."
        referer = headers.get("referer")
        alone = bool(referer) and not site and "origin" not in headers  # an old browser, or a program
        if alone and (graphql or not safe) and not self._same("/".join(str(referer).split("/")[:3]), host):
            return "the page is of another site."
        return ""

    def _same(self, origin: str, host: str) -> bool:
        """Whether an origin is the host that was asked, or one that was named."""
        scheme, _, where = origin.lower().partition("://")
        asked, named = _HOST.fullmatch(host), _HOST.fullmatch(where)
        if scheme not in _PORTS or not asked or not named:  # "null" too: a sandboxed frame, a file
            return False
        port = _PORTS[scheme]
        return (asked[1], asked[2] or port) == (named[1], named[2] or port) or _listed(where, self.further)

    def _is_ours(self, headers: Headers) -> bool:
        """Whether a request that is not foreign says that it comes from here."""
        site = headers.get("sec-fetch-site")
        return "origin" in headers or site == "same-origin" or (site is None and "referer" in headers)


def _listed(host: str, among: Iterable[str]) -> bool:
    """Whether `host`, as a header has it, is one of these; one without a port stands for all ports."""
    found = _HOST.fullmatch(host)
    return found is not None and any(listed in (found[1], host) for listed in among)


async def _read(receive: Receive) -> tuple[bytes | None, Receive]:
    """The body, None where it is too large, and what hands it out again."""
    body, more = b"", True
    while more and len(body) <= LARGEST:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    handed_out = False

    async def again() -> Message:
        nonlocal handed_out
        if handed_out:
            return await receive()
        handed_out = True
        return {"type": "http.request", "body": body, "more_body": False}

    return (None if more else body), again


def _unproved(scope: Scope, headers: Headers, body: bytes | None) -> str:
    """Why a request that may change something, and does not say whence it comes, is refused; empty for a query.

    Dagster takes the query from where its content type says (dagster_webserver/graphql.py); here any place counts.
    """
    mend = f"A program says whence it comes by a header, Origin: http://{headers.get('host')}."
    if scope["path"] != "/graphql":
        return f"this changes something. {mend}"
    if body is None:
        return f"the body is larger than {LARGEST:,} bytes. {mend}"
    asked: list[Any] = [QueryParams(scope["query_string"]).get("query")]
    kind = headers.get("content-type", "")
    try:
        if "application/json" in kind:
            asked.append(json.loads(body)["query"])
        elif "application/graphql" in kind:
            asked.append(body.decode())
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"no query can be read from it. {mend}"
    return f"this is a mutation, or cannot be read. {mend}" if any(map(_mutates, asked)) else ""


def _mutates(query: Any) -> bool:
    """Whether a document holds a mutation, or may: what is nested too deep to be read here might be read elsewhere."""
    if not isinstance(query, str):
        return False
    try:
        document = parse(query, no_location=True)
    except (GraphQLError, RecursionError):
        return True
    return any(
        isinstance(node, OperationDefinitionNode) and node.operation is OperationType.MUTATION
        for node in document.definitions
    )
