"""Which requests the guard of Dagster's UI lets through: real HTTP, in raw bytes, and websockets, to a small app.

The app answers like Dagster's: `/graphql` by GET, POST and websocket, and pages.
"""

import json
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from pipeline.cli.servers.same_origin import MAX_BODY, guarded
from pipeline.core.errors import InputError
from pipeline.home.environment import ui_hosts

QUERY, MUTATION = "{version}", "mutation{setNuxSeen}"
OTHER = "http://evil.example"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Serve the app on loopback, with the host names `atelier.example` and `other.example:8443` too."""

    async def answer(request: Request) -> PlainTextResponse:
        return PlainTextResponse("reached " + (await request.body())[:40].decode())

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept(subprotocol="graphql-ws")
        await websocket.close()

    routes = [
        Route("/graphql", answer, methods=["GET", "POST"]),
        WebSocketRoute("/graphql", talk),
        Route("/{path:path}", answer, methods=["GET", "POST", "DELETE"]),
    ]
    app = guarded(Starlette(routes=routes), ("Atelier.example", "other.example:8443"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, http="h11", log_level="critical"))
        thread = threading.Thread(target=server.run, args=[[listener]], daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(30)


def ask(port: int, target: str, body: str | None = None, method: str | None = None, **headers: str | None) -> int:
    """Send one request and return its status. `Host` is the server's own unless given; None leaves a header out."""
    sent: dict[str, str | None] = {"Host": f"127.0.0.1:{port}", "Connection": "close"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        sent.setdefault("Content-Type", "application/json")
        sent["Content-Length"] = str(len(body.encode()))
    lines = [f"{method or ('GET' if body is None else 'POST')} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in sent.items() if value is not None]
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n" + (body or "")).encode())
        return int(connection.recv(1000).split(b" ")[1])


def handshake(port: int, **headers: str | None) -> int:
    return ask(
        port, "/graphql", Connection="Upgrade", Upgrade="websocket", Sec_WebSocket_Version="13",
        Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==", Sec_WebSocket_Protocol="graphql-ws", **headers,
    )  # fmt: skip


def graphql_body(query: str) -> str:
    return json.dumps({"query": query})


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:{}", "127.0.0.1", "localhost:{}", "localhost:8080", "LOCALHOST:{}", "[::1]:{}", "[::1]",
     "atelier.example", "ATELIER.example:443", "other.example:8443"],
)  # fmt: skip
def test_it_answers_to_loopback_names_and_configured_hosts(port, host):
    host = host.format(port)
    assert ask(port, "/", Host=host) == 200
    assert ask(port, "/graphql", graphql_body(MUTATION), Host=host, Origin=f"http://{host}") == 200
    assert handshake(port, Host=host, Origin=f"http://{host}") == 101


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{}", "127.0.0.1.evil.example", "localhost.", "localhost.:{}", "evil@127.0.0.1",
     "127.0.0.1:{}@evil.example", "127.0.0.1:80:80", "[::2]", "[::1", "0.0.0.0:{}", "127.0.0.2", "2130706433",
     "other.example", "other.example:1", "sub.atelier.example", "", None],
)  # fmt: skip
def test_every_request_with_another_host_or_none_is_refused(port, host):
    host = host and host.format(port)
    assert 400 <= ask(port, "/", Host=host) < 500
    assert 400 <= ask(port, "/graphql", graphql_body(QUERY), Host=host) < 500
    assert 400 <= ask(port, "/graphql", graphql_body(MUTATION), Host=host, Origin=f"http://{host}") < 500
    assert 400 <= handshake(port, Host=host, Origin=f"http://{host}") < 500


def test_two_host_headers_and_a_proxy_request_are_refused(port):
    assert 400 <= ask(port, "/", Connection="close\r\nHost: evil.example") < 500
    assert 400 <= ask(port, "http://evil.example/graphql") < 500
    assert (
        400
        <= ask(port, f"http://127.0.0.1:{port}/graphql", graphql_body(MUTATION), Origin=f"http://127.0.0.1:{port}")
        < 500
    )


@pytest.mark.parametrize("origin", [OTHER, "null", "https://127.0.0.1:{}0", "http://localhost:{}", "http://127.0.0.1",
                                    "http://127.0.0.1:{}.evil.example", "file://", "http://evil.example/127.0.0.1:{}",
                                    "http://sub.atelier.example", ""])  # fmt: skip
def test_a_page_of_another_origin_is_refused(port, origin):
    origin = origin.format(port)
    assert ask(port, "/", Origin=origin) == 403
    assert ask(port, "/graphql", graphql_body(QUERY), Origin=origin) == 403
    assert ask(port, "/graphql", graphql_body(QUERY), Origin=origin, Content_Type="text/plain") == 403
    assert ask(port, "/graphql", graphql_body(MUTATION), Origin=origin) == 403
    assert ask(port, "/graphql", Origin=origin, method="OPTIONS") == 403
    assert handshake(port, Origin=origin) == 403


def test_a_right_origin_beside_a_wrong_one_is_refused(port):
    own = f"http://127.0.0.1:{port}"
    assert ask(port, "/graphql", graphql_body(MUTATION), Origin=f"{own}\r\nOrigin: {OTHER}") == 403


def test_a_configured_host_passes_through_a_proxy_that_rewrites_the_host_header(port):
    assert ask(port, "/graphql", graphql_body(MUTATION), Origin="https://atelier.example") == 200
    assert ask(port, "/graphql", graphql_body(MUTATION), Origin="https://other.example:8443") == 200
    assert ask(port, "/graphql", graphql_body(MUTATION), Origin="https://other.example") == 403
    assert handshake(port, Origin="https://atelier.example") == 101


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_may_link_to_a_page_but_load_nothing(port, site):
    link = {"Sec_Fetch_Site": site, "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert ask(port, "/runs/1", **link) == 200
    assert ask(port, "/runs/1", Referer=OTHER) == 200  # from an old browser without Sec-Fetch headers
    assert ask(port, "/runs/1", **{**link, "Sec_Fetch_Dest": "iframe"}) == 403
    assert ask(port, "/logs/1", Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors", Sec_Fetch_Dest="script") == 403
    assert ask(port, f"/graphql?query={quote(QUERY)}", **link) == 403
    assert ask(port, "/runs/1", "x=1", **link) == 403
    assert handshake(port, Sec_Fetch_Site=site) == 403


def test_a_mutation_by_get_is_refused_from_every_origin(port):
    own = f"http://127.0.0.1:{port}"
    for proof in ({}, {"Origin": own}, {"Sec_Fetch_Site": "same-origin"}, {"Referer": f"{own}/runs"}):
        for path in ("/graphql", "/graphql/", "/graphql%0A", "//graphql"):
            assert ask(port, f"{path}?query={quote(MUTATION)}", **proof) == 403
    hidden = "query a{version} mutation b{setNuxSeen}"
    assert ask(port, f"/graphql?query={quote(hidden)}&operationName=b") == 403
    assert ask(port, f"/graphql?query={quote(QUERY)}&query={quote(MUTATION)}") == 403
    assert ask(port, f"/graphql?query={quote(QUERY)}") == 200


def test_a_program_may_query_without_an_origin_and_mutate_with_one(port):
    own = f"http://127.0.0.1:{port}"
    assert ask(port, "/graphql", graphql_body(QUERY)) == 200
    assert ask(port, "/graphql", graphql_body(MUTATION)) == 403
    assert ask(port, "/graphql", graphql_body(MUTATION), Origin=own) == 200
    assert ask(port, "/graphql", graphql_body(MUTATION), Sec_Fetch_Site="same-origin") == 200
    assert ask(port, "/graphql", graphql_body(MUTATION), Referer=f"{own}/runs") == 200
    assert ask(port, "/graphql", graphql_body(MUTATION), Referer=f"{OTHER}/{own}") == 403
    assert ask(port, "/graphql", graphql_body(QUERY), Referer=OTHER) == 403
    assert ask(port, "/report_asset_materialization/items", "{}") == 403
    assert ask(port, "/report_asset_materialization/items", "{}", Origin=own) == 200
    assert ask(port, "/runs", method="DELETE") == 403


@pytest.mark.parametrize(
    ("kind", "body", "parameters"),
    [
        ("application/graphql", MUTATION, ""),
        ("text/plain", "", f"?query={quote(MUTATION)}"),
        ("text/plain; application/json", graphql_body(MUTATION), ""),
        ("application/json", graphql_body("fragment f on Query{version} " + MUTATION), ""),
        ("application/json", '{"query": "{version}", "query": "mutation{setNuxSeen}"}', ""),
        ("application/json", '{"query": "\\u006dutation{setNuxSeen}"}', ""),
        ("application/json", graphql_body("# a comment\n,,mutation {setNuxSeen}"), ""),
        ("application/json", json.dumps([{"query": MUTATION}, 1]), ""),
        ("application/json", "{", ""),
        ("application/json", graphql_body("{a" * 10_000 + "}" * 10_000 + MUTATION), ""),
        ("application/json", graphql_body("#" + "x" * MAX_BODY), ""),
    ],
)
def test_no_form_of_a_mutation_passes_without_an_origin(port, kind, body, parameters):
    assert ask(port, f"/graphql{parameters}", body, Content_Type=kind) == 403


def test_invalid_ui_hosts_are_refused_with_the_variables_name(monkeypatch):
    monkeypatch.setenv("ATELIER_UI_HOSTS", " Atelier.example, 192.0.2.7:3000,[2001:db8::1]:80 ,")
    assert ui_hosts() == ("atelier.example", "192.0.2.7:3000", "[2001:db8::1]:80")
    for wrong in ("http://atelier.example", "*", "*.example", "a/b", "a b", "atelier.", "a:b", "a:1:2"):
        monkeypatch.setenv("ATELIER_UI_HOSTS", wrong)
        with pytest.raises(InputError, match="ATELIER_UI_HOSTS"):
            ui_hosts()
