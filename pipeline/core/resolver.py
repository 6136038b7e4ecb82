"""Resolve each host name in its own thread, so that a hanging name server delays only that host.

The event loop has few threads (four in uvloop, two of them for names). Other work needs them, and the program waits for
them when it ends. Which addresses may be used is decided in `address.py`.
"""

import asyncio
import contextlib
import socket
import threading
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
_CONFIGURED = getattr(socket, "AI_ADDRCONFIG", 0)  # no IPv6 addresses for a machine without IPv6


class ThreadedResolver(AbstractResolver):
    """The system's resolver with one thread per look-up; an abandoned look-up ends by itself."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Look up the addresses of `host`. Raises OSError (socket.gaierror) if there are none."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Any]] = loop.create_future()

        def settle(found: list[Any], error: Exception | None) -> None:
            if answer.done():  # the caller was cancelled
                return
            if error is None:
                answer.set_result(found)
            else:
                answer.set_exception(error)

        def look_up() -> None:
            found, error = [], None
            try:
                found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=_CONFIGURED)
            except (OSError, ValueError) as problem:  # ValueError: a name that cannot be encoded
                error = problem
            with contextlib.suppress(RuntimeError):  # the loop has ended in the meantime
                loop.call_soon_threadsafe(settle, found, error)

        threading.Thread(target=look_up, name=f"look up {host}", daemon=True).start()
        return [
            ResolveResult(
                hostname=host, host=str(where[0]), port=int(where[1]), family=kind, proto=protocol, flags=_NUMERIC
            )
            for kind, _, protocol, _, where in await answer
        ]

    async def close(self) -> None:
        """Do nothing, because the resolver holds no resources."""
