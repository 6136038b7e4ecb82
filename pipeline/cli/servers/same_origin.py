"""Refuse requests to Dagster's UI that come from pages of other sites; accept its own pages and local programs.

Neither UI has a login, so a page of another site in the same browser must not reach them: not through a foreign name
that resolves to loopback (DNS rebinding), a link, a form or a websocket. MLflow's server has its own guard. The rules
follow OWASP's cheat sheet on cross-site request forgery and the Fetch Metadata specification.
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
MAX_BODY = 4 << 20  # bytes of a body that is checked; the UI's own bodies are kilobytes
_SAFE = ("GET", "HEAD", "OPTIONS")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/@\[\]?#\\]+)(?::(\d{1,5}))?")
_PORTS = {"http": "80", "https": "443"}


def guarded(app: ASGIApp, hosts: Iterable[str] = ()) -> ASGIApp:
    """Put the app behind both guards. It answers to loopback names and to `hosts`, each `name` or `name:port`."""
    own_hosts = tuple(host.lower() for host in hosts)
    names = {_HOST.fullmatch(host)[1] for host in (*LOOPBACK, *own_hosts)}  # ty: ignore[not-subscriptable]
    names |= {name.strip("[]") for name in names}  # an IPv6 address with its brackets and without
    return TrustedHostMiddleware(SameOrigin(app, own_hosts), sorted(names), www_redirect=False)


class SameOrigin:
    """ASGI middleware that refuses requests from other sites, and changes by requests that do not name their origin."""

    def __init__(self, app: ASGIApp, own_hosts: tuple[str, ...] = ()):
        self.app, self.own_hosts = app, own_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or pass the request to the app."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        reason = self._cross_site(scope, headers)
        if not reason and scope["type"] == "http":
            if scope["method"] in _SAFE:
                if _mutates(QueryParams(scope["query_string"]).get("query")):
                    reason = "a mutation must be sent by POST; this query is one, or cannot be parsed."
            elif not self._names_origin(headers):
                body, receive = await _read(receive)
                reason = _may_change(scope, headers, body)
        if not reason:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": reason})
        else:
            await PlainTextResponse(f"refused: {reason}\n", 403)(scope, receive, send)

    def _cross_site(self, scope: Scope, headers: Headers) -> str:
        """Say why a request comes from another site; empty if nothing shows that it does."""
        host = headers.get("host", "").lower()
        if not scope["path"].startswith("/"):
            return "this server is no proxy."
        if not _listed(host, (*LOOPBACK, *self.own_hosts)):
            return f"{host} is no name of this server: if it is one of yours, add it to ATELIER_UI_HOSTS."
        for origin in headers.getlist("origin"):
            if not self._same(origin, host):
                return f"the page is from another site, {origin}: if it is yours, add its host to ATELIER_UI_HOSTS."
        safe, graphql = scope.get("method", "GET") in _SAFE, "/graphql" in scope["path"]
        site = headers.get("sec-fetch-site", "")
        if site in ("cross-site", "same-site"):
            # Another site may link to a page of this one, but not load, post to or frame anything of it.
            link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
            if not (link and safe and not graphql and scope["type"] == "http"):
                return "the page is from another site."
        referer = headers.get("referer")
        only_referer = bool(referer) and not site and "origin" not in headers  # an old browser, or a program
        if only_referer and (graphql or not safe) and not self._same("/".join(str(referer).split("/")[:3]), host):
            return "the page is from another site."
        return ""

    def _same(self, origin: str, host: str) -> bool:
        """Return whether an origin is the requested host or one of `own_hosts`."""
        scheme, _, origin_host = origin.lower().partition("://")
        requested, named = _HOST.fullmatch(host), _HOST.fullmatch(origin_host)
        if scheme not in _PORTS or not requested or not named:  # also "null": a sandboxed frame, a file
            return False
        port = _PORTS[scheme]
        same = (requested[1], requested[2] or port) == (named[1], named[2] or port)
        return same or _listed(origin_host, self.own_hosts)

    def _names_origin(self, headers: Headers) -> bool:
        """Return whether a request that passed `_cross_site` names this site as its origin."""
        site = headers.get("sec-fetch-site")
        return "origin" in headers or site == "same-origin" or (site is None and "referer" in headers)


def _listed(host: str, hosts: Iterable[str]) -> bool:
    """Return whether a header's host is one of `hosts`; an entry without a port matches every port."""
    parsed = _HOST.fullmatch(host)
    return parsed is not None and any(entry in (parsed[1], host) for entry in hosts)


async def _read(receive: Receive) -> tuple[bytes | None, Receive]:
    """Read the body, None if it is too large; return it and a `receive` that delivers it again."""
    body, more = b"", True
    while more and len(body) <= MAX_BODY:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    delivered = False

    async def again() -> Message:
        nonlocal delivered
        if delivered:
            return await receive()
        delivered = True
        return {"type": "http.request", "body": body, "more_body": False}

    return (None if more else body), again


def _may_change(scope: Scope, headers: Headers, body: bytes | None) -> str:
    """Say why a request without an origin may change something and is refused; empty for a query.

    Dagster reads the query from one place, by content type (dagster_webserver/graphql.py). Every place is checked here.
    """
    remedy = f"A program must send the header Origin: http://{headers.get('host')}."
    if scope["path"] != "/graphql":
        return f"this request changes something. {remedy}"
    if body is None:
        return f"the body is larger than {MAX_BODY:,} bytes. {remedy}"
    queries: list[Any] = [QueryParams(scope["query_string"]).get("query")]
    content_type = headers.get("content-type", "")
    try:
        if "application/json" in content_type:
            queries.append(json.loads(body)["query"])
        elif "application/graphql" in content_type:
            queries.append(body.decode())
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"the body has no query. {remedy}"
    return f"this is a mutation, or cannot be parsed. {remedy}" if any(map(_mutates, queries)) else ""


def _mutates(query: Any) -> bool:
    """Return whether a GraphQL document has a mutation or cannot be parsed, since another parser may accept it."""
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
