"""A hanging look-up of a host name delays no other."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.core.resolver import ThreadedResolver

HANGING = 40  # more than the threads of any pool


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A name server that does not answer for `*.hangs.example` until the event is set."""
    answers, real = threading.Event(), socket.getaddrinfo

    def look_up(host: str, *rest: object, **options: object) -> object:
        if host.endswith("hangs.example"):
            answers.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return real("127.0.0.1", *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield answers
    answers.set()


def test_many_hanging_names_delay_neither_others_nor_the_end_of_the_loop(hanging: threading.Event) -> None:
    async def run() -> list[str]:
        names = ThreadedResolver()
        waiting = [asyncio.create_task(names.resolve(f"{n}.hangs.example", 80)) for n in range(HANGING)]
        await asyncio.sleep(0)
        found = await names.resolve("good.example", 80)
        for task in waiting:
            task.cancel()
        return [entry["host"] for entry in found]

    started = time.monotonic()
    assert asyncio.run(run()) == ["127.0.0.1"]
    assert time.monotonic() - started < 30  # the names hang for 60


def test_a_name_without_an_address_raises_an_os_error(hanging: threading.Event) -> None:
    hanging.set()
    with pytest.raises(socket.gaierror):
        asyncio.run(ThreadedResolver().resolve("x.hangs.example", 80))
