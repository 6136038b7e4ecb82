"""A real S3-compatible server on loopback, and a proxy in front of it that can answer 503 for a while."""

import contextlib
import http.client
import socketserver
import uuid
from collections.abc import Generator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from threading import Thread

import pytest


@dataclass
class Bucket:
    """An empty bucket: its fsspec address, and the port of its server."""

    address: str
    port: int


@contextlib.contextmanager
def bucket(monkeypatch: pytest.MonkeyPatch) -> Generator[Bucket]:
    """Start a server with one bucket, and name it in the environment."""
    server_module = pytest.importorskip("moto.server", reason="moto[server], an S3-compatible server, is not installed")
    import boto3

    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    try:
        point(monkeypatch, port)
        name = f"atelier-{uuid.uuid4().hex[:8]}"
        boto3.client("s3").create_bucket(Bucket=name)
        yield Bucket(f"s3://{name}/homes/shop", port)
    finally:
        server.stop()


def point(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Point this process's S3 clients to a port of loopback."""
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "atelier",
        "AWS_SECRET_ACCESS_KEY": "atelier",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


@contextlib.contextmanager
def refusing(port: int, after: int, times: int) -> Generator["Refusals"]:
    """Start a proxy to `port` that answers 503 to `times` requests after the first `after`."""
    refusals = Refusals(after, times)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if refusals.refuses():
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            upstream = http.client.HTTPConnection("127.0.0.1", port)
            upstream.request(self.command, self.path, body, dict(self.headers))
            answer = upstream.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"content-length", "transfer-encoding", "connection", "date", "server"}:
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        refusals.port = server.server_address[1]
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield refusals
        finally:
            server.shutdown()


@dataclass
class Refusals:
    """How many requests the proxy has refused, and will refuse."""

    after: int
    times: int
    seen: int = 0
    refused: int = 0
    port: int = 0

    def refuses(self) -> bool:
        """Count a request; return whether it is refused."""
        self.seen += 1
        refuse = self.seen > self.after and self.refused < self.times
        self.refused += refuse
        return refuse
