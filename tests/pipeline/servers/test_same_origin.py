"""Which requests reach Dagster's UI: real HTTP, in raw bytes, and websockets, to a small app behind the same guard.

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

from pipeline.core.errors import InputError
from pipeline.home.environment import ui_hosts
from pipeline.servers.same_origin import LARGEST, guarded

QUERY, MUTATION = "{version}", "mutation{setNuxSeen}"
OTHER = "http://evil.example"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The app on loopback, which further hosts name `atelier.example` and `other.example:8443`."""

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
        by = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < by
            time.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(30)


def ask(port: int, target: str, body: str | None = None, method: str | None = None, **headers: str | None) -> int:
    """The status of one request; `Host` is right unless given, None leaves it out."""
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


def sent(query: str) -> str:
    return json.dumps({"query": query})


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:{}", "127.0.0.1", "localhost:{}", "localhost:8080", "LOCALHOST:{}", "[::1]:{}", "[::1]",
     "atelier.example", "ATELIER.example:443", "other.example:8443"],
)  # fmt: skip
def test_it_answers_by_the_names_of_loopback_and_those_that_were_named(port, host):
    host = host.format(port)
    assert ask(port, "/", Host=host) == 200
    assert ask(port, "/graphql", sent(MUTATION), Host=host, Origin=f"http://{host}") == 200
    assert handshake(port, Host=host, Origin=f"http://{host}") == 101


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{}", "127.0.0.1.evil.example", "localhost.", "localhost.:{}", "evil@127.0.0.1",
     "127.0.0.1:{}@evil.example", "127.0.0.1:80:80", "[::2]", "[::1", "0.0.0.0:{}", "127.0.0.2", "2130706433",
     "other.example", "other.example:1", "sub.atelier.example", "", None],
)  # fmt: skip
def test_another_host_or_none_is_refused_whatever_is_asked(port, host):
    host = host and host.format(port)
    assert 400 <= ask(port, "/", Host=host) < 500
    assert 400 <= ask(port, "/graphql", sent(QUERY), Host=host) < 500
    assert 400 <= ask(port, "/graphql", sent(MUTATION), Host=host, Origin=f"http://{host}") < 500
    assert 400 <= handshake(port, Host=host, Origin=f"http://{host}") < 500


def test_two_hosts_and_a_proxys_request_are_refused(port):
    assert 400 <= ask(port, "/", Connection="close\r\nHost: evil.example") < 500
    assert 400 <= ask(port, "http://evil.example/graphql") < 500
    assert 400 <= ask(port, f"http://127.0.0.1:{port}/graphql", sent(MUTATION), Origin=f"http://127.0.0.1:{port}") < 500


@pytest.mark.parametrize("origin", [OTHER, "null", "https://127.0.0.1:{}0", "http://localhost:{}", "http://127.0.0.1",
                                    "http://127.0.0.1:{}.evil.example", "file://", "http://evil.example/127.0.0.1:{}",
                                    "http://sub.atelier.example", ""])  # fmt: skip
def test_a_page_of_another_origin_is_refused(port, origin):
    origin = origin.format(port)
    assert ask(port, "/", Origin=origin) == 403
    assert ask(port, "/graphql", sent(QUERY), Origin=origin) == 403
    assert ask(port, "/graphql", sent(QUERY), Origin=origin, Content_Type="text/plain") == 403
    assert ask(port, "/graphql", sent(MUTATION), Origin=origin) == 403
    assert ask(port, "/graphql", Origin=origin, method="OPTIONS") == 403
    assert handshake(port, Origin=origin) == 403


def test_one_right_origin_beside_a_wrong_one_proves_nothing(port):
    own = f"http://127.0.0.1:{port}"
    assert ask(port, "/graphql", sent(MUTATION), Origin=f"{own}\r\nOrigin: {OTHER}") == 403


def test_a_named_host_may_ask_through_a_proxy_that_rewrites_the_host(port):
    assert ask(port, "/graphql", sent(MUTATION), Origin="https://atelier.example") == 200
    assert ask(port, "/graphql", sent(MUTATION), Origin="https://other.example:8443") == 200
    assert ask(port, "/graphql", sent(MUTATION), Origin="https://other.example") == 403
    assert handshake(port, Origin="https://atelier.example") == 101


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_another_sites_page_loads_is_refused_but_a_link_opens_a_page(port, site):
    link = {"Sec_Fetch_Site": site, "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert ask(port, "/runs/1", **link) == 200
    assert ask(port, "/runs/1", Referer=OTHER) == 200  # of a browser that says no more
    assert ask(port, "/runs/1", **{**link, "Sec_Fetch_Dest": "iframe"}) == 403
    assert ask(port, "/logs/1", Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors", Sec_Fetch_Dest="script") == 403
    assert ask(port, f"/graphql?query={quote(QUERY)}", **link) == 403
    assert ask(port, "/runs/1", "x=1", **link) == 403
    assert handshake(port, Sec_Fetch_Site=site) == 403


def test_a_mutation_by_get_is_refused_wherever_it_comes_from(port):
    own = f"http://127.0.0.1:{port}"
    for proof in ({}, {"Origin": own}, {"Sec_Fetch_Site": "same-origin"}, {"Referer": f"{own}/runs"}):
        for path in ("/graphql", "/graphql/", "/graphql%0A", "//graphql"):
            assert ask(port, f"{path}?query={quote(MUTATION)}", **proof) == 403
    hidden = "query a{version} mutation b{setNuxSeen}"
    assert ask(port, f"/graphql?query={quote(hidden)}&operationName=b") == 403
    assert ask(port, f"/graphql?query={quote(QUERY)}&query={quote(MUTATION)}") == 403
    assert ask(port, f"/graphql?query={quote(QUERY)}") == 200


def test_a_program_may_query_without_a_word_and_change_something_with_one(port):
    own = f"http://127.0.0.1:{port}"
    assert ask(port, "/graphql", sent(QUERY)) == 200
    assert ask(port, "/graphql", sent(MUTATION)) == 403
    assert ask(port, "/graphql", sent(MUTATION), Origin=own) == 200
    assert ask(port, "/graphql", sent(MUTATION), Sec_Fetch_Site="same-origin") == 200
    assert ask(port, "/graphql", sent(MUTATION), Referer=f"{own}/runs") == 200
    assert ask(port, "/graphql", sent(MUTATION), Referer=f"{OTHER}/{own}") == 403
    assert ask(port, "/graphql", sent(QUERY), Referer=OTHER) == 403
    assert ask(port, "/report_asset_materialization/items", "{}") == 403
    assert ask(port, "/report_asset_materialization/items", "{}", Origin=own) == 200
    assert ask(port, "/runs", method="DELETE") == 403


@pytest.mark.parametrize(
    ("kind", "body", "parameters"),
    [
        ("application/graphql", MUTATION, ""),
        ("text/plain", "", f"?query={quote(MUTATION)}"),
        ("text/plain; application/json", sent(MUTATION), ""),
        ("application/json", sent("fragment f on Query{version} " + MUTATION), ""),
        ("application/json", '{"query": "{version}", "query": "mutation{setNuxSeen}"}', ""),
        ("application/json", '{"query": "\\u006dutation{setNuxSeen}"}', ""),
        ("application/json", sent("# a comment\n,,mutation {setNuxSeen}"), ""),
        ("application/json", json.dumps([{"query": MUTATION}, 1]), ""),
        ("application/json", "{", ""),
        ("application/json", sent("{a" * 10_000 + "}" * 10_000 + MUTATION), ""),
        ("application/json", sent("#" + "x" * LARGEST), ""),
    ],
)
def test_no_form_of_a_mutation_slips_through_without_a_word(port, kind, body, parameters):
    assert ask(port, f"/graphql{parameters}", body, Content_Type=kind) == 403


def test_hosts_that_are_none_are_refused_by_name(monkeypatch):
    monkeypatch.setenv("ATELIER_UI_HOSTS", " Atelier.example, 192.0.2.7:3000,[2001:db8::1]:80 ,")
    assert ui_hosts() == ("atelier.example", "192.0.2.7:3000", "[2001:db8::1]:80")
    for wrong in ("http://atelier.example", "*", "*.example", "a/b", "a b", "atelier.", "a:b", "a:1:2"):
        monkeypatch.setenv("ATELIER_UI_HOSTS", wrong)
        with pytest.raises(InputError, match="ATELIER_UI_HOSTS"):
            ui_hosts()
