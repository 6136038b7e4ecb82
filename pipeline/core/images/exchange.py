"""One request and its answer over one of aiohttp's connections, without what a browser wants of an HTTP client.

aiohttp resolves, connects (through the guard of `address.py`), encrypts, keeps connections, parses and streams. The
request is written here: `ClientSession.get` spends more than half of its time on cookies, credentials, proxies,
middlewares, redirects and timers, all turned off where strangers' pictures are fetched. The time limits are here too,
kept by one look around now and then in place of three timers a request. What an answer means is `transfer.py`'s.
"""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from multidict import CIMultiDictProxy

from pipeline.core.address import Target

_ORIGINS = 1000  # request heads kept ready; past it all are made anew
_LOOKS = 20  # looks around within the shorter time limit: it is passed by a tenth at most


@dataclass(slots=True)
class Answer:
    """Status and headers of an answer, its body still to be read; `release` must follow, whatever was read."""

    status: int
    headers: CIMultiDictProxy[str]
    body: aiohttp.StreamReader
    connection: Connection

    @property
    def announced(self) -> int | None:
        """The length of the body in bytes where the answer says it and will keep to it, else None."""
        length = self.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() and "Transfer-Encoding" not in self.headers else None

    def release(self) -> None:
        """Keep the connection for the next request if the body was read to its end, else close it."""
        self.connection.release()


class Watched:
    """An attempt under time limits: which task to stop, and since when its server has been silent."""

    __slots__ = ("body", "deadline", "expired", "heard", "since", "task", "watch")

    def __init__(self, watch: "Watch", task: asyncio.Task[object]) -> None:
        self.watch = watch
        self.task = task
        self.deadline = watch.clock + watch.total
        self.expired = False
        self.rest()

    def listen(self, body: aiohttp.StreamReader | None) -> None:
        """From now on the server is to say something: its headers, or bytes of `body`."""
        self.since, self.body = self.watch.clock, body
        self.heard = 0 if body is None else body.total_bytes

    def rest(self) -> None:
        """Nothing is asked of the server: a connection is being made, or a picture judged."""
        self.since, self.body, self.heard = math.inf, None, 0


class Watch:
    """Stops attempts that pass `silence` seconds between two reads or `total` seconds altogether.

    Its clock goes on from look to look and stands still while the process does (a laptop that slept, a machine that
    had no time for it): then all servers seem to have been silent, and none was.
    """

    def __init__(self, silence: float, total: float) -> None:
        self.silence = silence
        self.total = total
        self.attempts: set[Watched] = set()
        self.pause = min(1.0, min(silence, total) / _LOOKS)
        self.clock = 0.0
        self._looked: float | None = None

    def begin(self) -> Watched:
        """Put the running task under watch, until `end`."""
        task = asyncio.current_task()
        assert task is not None
        watched = Watched(self, task)
        self.attempts.add(watched)
        return watched

    def end(self, watched: Watched) -> None:
        """The attempt is over."""
        self.attempts.discard(watched)

    def look(self, now: float) -> None:
        """Cancel every attempt that is past a limit, and mark it as expired. `now` is any clock's time in seconds."""
        self.clock += 0.0 if self._looked is None else min(now - self._looked, 2 * self.pause)
        self._looked = now
        # What was begun since the last look has its time: up to one pause more than the limit, never less.
        clock = self.clock - self.pause
        for watched in self.attempts:
            if watched.body is not None and watched.body.total_bytes != watched.heard:
                watched.listen(watched.body)
            if not watched.expired and (clock > watched.deadline or clock - watched.since > self.silence):
                watched.expired = True
                watched.task.cancel()

    async def run(self) -> None:
        """Look around for ever."""
        loop = asyncio.get_running_loop()
        while True:
            self.look(loop.time())
            await asyncio.sleep(self.pause)


class Exchange:
    """GET over the connections of one connector; `close` closes them."""

    def __init__(self, connector: aiohttp.TCPConnector, headers: Mapping[str, str], connect_timeout: float) -> None:
        self.connector = connector
        self.headers = headers
        self._limits = aiohttp.ClientTimeout(total=None, connect=connect_timeout)
        self._origins: dict[tuple[str, str, int], tuple[aiohttp.ClientRequest, str]] = {}

    async def close(self) -> None:
        """Close every connection."""
        await self.connector.close()

    async def get(self, asked: Target, watched: Watched) -> Answer:
        """Ask and wait for the answer's headers. Raises what aiohttp's connector and parser raise."""
        try:
            return await self._get(asked, watched)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # A kept connection may close as it is written to; RFC 9112, 9.3.1 lets a GET be sent again.
            return await self._get(asked, watched)

    async def _get(self, asked: Target, watched: Watched) -> Answer:
        template, head = self._origin(asked)
        watched.rest()
        connection = await self.connector.connect(template, traces=[], timeout=self._limits)
        try:
            protocol = connection.protocol
            assert protocol is not None
            # Compressed answers stay compressed: pictures are so already, and such an answer may be a bomb.
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
            _write(protocol, f"GET {asked.path} {head}".encode())
            watched.listen(None)
            while True:
                message, body = await protocol.read()
                if message.code >= 200 or message.code == 101:  # before that, 1xx: the answer is still to come
                    break
            watched.listen(body)
            return Answer(message.code, message.headers, body, connection)
        except BaseException:
            connection.close()
            raise

    def _origin(self, asked: Target) -> tuple[aiohttp.ClientRequest, str]:
        """What all requests to a scheme, host and port share: aiohttp's key to them, and the head but its path."""
        key = (asked.scheme, asked.host, asked.port)
        kept = self._origins.get(key)
        if kept is None:
            if len(self._origins) >= _ORIGINS:
                self._origins.clear()
            template = aiohttp.ClientRequest("GET", asked.exact, headers=self.headers, loop=asyncio.get_running_loop())
            lines = [f"{name}: {value}\r\n" for name, value in template.headers.items()]
            kept = self._origins[key] = (template, f"HTTP/1.1\r\n{''.join(lines)}\r\n")
        return kept


def _write(protocol: ResponseHandler, request: bytes) -> None:
    transport = protocol.transport
    if transport is None or transport.is_closing():
        raise aiohttp.ClientConnectionResetError("the connection closed before it was written to")
    transport.write(request)
