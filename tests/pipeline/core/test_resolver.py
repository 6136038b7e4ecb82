"""Look-ups of host names: one that hangs holds up nobody else."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.core.resolver import ThreadedResolver

HANGING = 40  # more than any pool of threads at hand has


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


def test_a_crowd_of_hanging_names_leaves_the_others_and_the_end_of_the_loop_alone(hanging: threading.Event) -> None:
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


def test_a_name_without_an_address_is_an_error_of_the_system(hanging: threading.Event) -> None:
    hanging.set()
    with pytest.raises(socket.gaierror):
        asyncio.run(ThreadedResolver().resolve("x.hangs.example", 80))
