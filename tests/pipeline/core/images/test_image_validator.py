"""Pictures are validated in other processes, which may die or be stopped, without losing good pictures."""

import asyncio
import contextlib
import io
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Coroutine
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.images import decoder, pictures
from pipeline.core.images.decoder import Decoder, decode_posted
from pipeline.core.images.image_validator import ImageValidator
from pipeline.core.images.pictures import PictureError
from tests.pipeline.core.fault_server import jpeg
from tests.pipeline.core.images import hostile

LIMIT = 60  # seconds, on a loaded machine
LARGE = hostile.encoded(np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8), "PNG")


def run(work: Coroutine) -> None:
    async def limited() -> None:
        async with asyncio.timeout(LIMIT):
            await work

    asyncio.run(limited())


@contextlib.asynccontextmanager
async def open_validator() -> AsyncGenerator[ImageValidator]:
    validator = ImageValidator(50_000_000, 16)
    try:
        yield validator
    finally:
        validator.close()


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0)


async def stopped(validator: ImageValidator, small: bool) -> Decoder:
    """Hold a process of the validator, as if it decoded without end."""
    await validator.validate(jpeg(0) if small else LARGE)
    (held,) = validator._idle[small]
    os.kill(held.process.pid, signal.SIGSTOP)
    return held


async def outcome(validator: ImageValidator, data: bytes) -> str:
    try:
        await validator.validate(data)
    except PictureError as error:
        return error.reason
    return "ok"


def test_small_and_large_pictures_are_named_and_described() -> None:
    async def work() -> None:
        async with open_validator() as validator:
            found = await asyncio.gather(*(validator.validate(data) for data in (jpeg(1), LARGE, jpeg(2))))
            assert len({sha256 for sha256, _ in found}) == 3
            assert [(h.format, h.width, h.height) for _, h in found][1] == ("PNG", 400, 400)
            wide = hostile.png(2000)  # few bytes, many pixels: batched first, then decoded alone
            assert (await validator.validate(wide))[1].pixels == 4_000_000
            assert len(validator._idle[False]) == 1
            assert await outcome(validator, hostile.lying_avif(1000, 64)) == "ok"
            assert await outcome(validator, b"<html>") == "not_a_picture"
            assert await outcome(validator, hostile.flat_jpeg(7000, 50)) == "too_costly"

    run(work())


def test_nothing_is_decoded_in_the_process_that_fetches(monkeypatch: pytest.MonkeyPatch) -> None:
    def here(*_: object, **__: object) -> None:
        raise AssertionError("decoded here")

    for module, name in (
        (pictures, "validate"), (pictures, "read_header"), (pictures.simplejpeg, "decode_jpeg"), (Image, "open"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, here)

    async def work() -> None:
        async with open_validator() as validator:
            assert [await outcome(validator, data) for data in (jpeg(1), LARGE)] == ["ok", "ok"]

    run(work())


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGXCPU, signal.SIGSEGV])
def test_the_pictures_of_a_batch_whose_process_died_are_validated_again(signal_number: int) -> None:
    async def work() -> None:
        async with open_validator() as validator:
            held = await stopped(validator, small=True)
            batch = [asyncio.create_task(outcome(validator, jpeg(n))) for n in range(20)]
            await until(lambda: validator._batches is not None and not validator._waiting and not validator._idle[True])
            os.kill(held.process.pid, signal_number)
            os.kill(held.process.pid, signal.SIGCONT)
            assert await asyncio.gather(*batch) == ["ok"] * 20

    run(work())


def test_a_picture_that_exceeds_its_time_is_too_costly_and_the_next_is_validated() -> None:
    async def work() -> None:
        async with open_validator() as validator:
            held = await stopped(validator, small=False)
            slow = asyncio.create_task(outcome(validator, LARGE))
            await until(lambda: not validator._idle[False])
            os.kill(held.process.pid, signal.SIGXCPU)  # as the system does when RLIMIT_CPU is used up
            os.kill(held.process.pid, signal.SIGCONT)
            assert await slow == "too_costly"
            assert await outcome(validator, LARGE) == "ok"

    run(work())


def test_a_picture_that_ends_its_process_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def die(self: Decoder, batch: object) -> list:
        self.process.send_signal(signal.SIGSEGV)
        raise decoder.DecoderDiedError(self.process.wait())

    async def work() -> None:
        async with open_validator() as validator:
            monkeypatch.setattr(Decoder, "ask", die)
            assert await outcome(validator, LARGE) == "not_a_picture"

    run(work())


def test_a_picture_whose_process_was_killed_twice_from_outside_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def die(self: Decoder, batch: object) -> list:
        self.process.kill()
        raise decoder.DecoderDiedError(self.process.wait())

    async def work() -> None:
        async with open_validator() as validator:
            monkeypatch.setattr(Decoder, "ask", die)
            with pytest.raises(TimeoutError):
                await validator.validate(LARGE)

    run(work())


def test_slow_large_pictures_delay_no_small_one_and_are_cancelled_with_their_attempts() -> None:
    async def work() -> None:
        async with open_validator() as validator:
            await asyncio.gather(validator.validate(LARGE), validator.validate(LARGE))
            held = [one.process for one in validator._idle[False]]
            assert len(held) == 2
            for process in held:
                os.kill(process.pid, signal.SIGSTOP)
            slow = [asyncio.create_task(validator.validate(LARGE)) for _ in range(2)]
            await until(lambda: not validator._idle[False])
            assert await outcome(validator, jpeg(1)) == "ok"
            for task in slow:
                task.cancel()  # as their attempts' time limits do
            assert await outcome(validator, LARGE) == "ok"
            assert all(process.returncode == -signal.SIGKILL for process in held)

    run(work())


def test_closing_ends_the_processes_in_any_state() -> None:
    async def work() -> None:
        async with open_validator() as validator:
            held = await stopped(validator, small=True)
            waits = asyncio.create_task(outcome(validator, jpeg(1)))
            await until(lambda: not validator._idle[True] and not validator._waiting)
            started = time.monotonic()
            validator.close()
            assert held.process.returncode == -signal.SIGKILL
            with pytest.raises(asyncio.CancelledError):
                await waits
            assert time.monotonic() - started < 10

    run(work())


def test_a_process_that_cannot_start_ends_the_fetch_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "_START", "raise SystemExit(3)")

    async def work() -> None:
        async with open_validator() as validator:
            for data in (jpeg(1), LARGE):
                with pytest.raises(RuntimeError, match=r"does not start \(exit code 3\)"):
                    await validator.validate(data)

    run(work())


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="asks Linux's /proc")
def test_a_process_has_limits_and_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATELIER_ARTIFACTS", "s3://key:secret@store")
    one = Decoder()
    try:
        assert one.ask_and_wait([LARGE])[0][1] == "PNG"
        proc = Path(f"/proc/{one.process.pid}")
        limits = {line[:26].strip(): line[26:].split()[0] for line in (proc / "limits").read_text().splitlines()[1:]}
        assert 1 <= int(limits["Max cpu time"]) <= 10
        assert 1e9 < int(limits["Max address space"]) < 3e9
        assert limits["Max core file size"] == "0"
        assert b"secret" not in (proc / "environ").read_bytes()
        loaded = (proc / "maps").read_text()
        assert not any(name in loaded for name in ("libtorch", "libarrow", "grpc"))
    finally:
        one.end()


def test_a_process_starts_where_the_project_is_importable_only_by_a_finder(monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(Path(__file__).parents[4])
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", root)])
    one = Decoder()
    try:
        assert one.ask_and_wait([LARGE])[0][1] == "PNG"
    finally:
        one.end()


ORPHANS = """
import asyncio, sys, time
from pipeline.core.images.image_validator import ImageValidator
async def work():
    validator = ImageValidator(50_000_000, 16)
    await validator.start()
    print(validator._idle[True][0].process.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(work())
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for another's child as Linux can")
def test_a_decoder_process_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        assert select.select([child], [], [], LIMIT)[0], "it still runs"
    finally:
        parent.kill()
        parent.wait()


def test_a_posted_picture_has_the_same_limits_as_a_fetched_one() -> None:
    for data in (jpeg(1), LARGE, hostile.encoded(hostile.SMOOTH, "AVIF")):
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert np.array_equal(decode_posted(data), expected)
    for data, reason in (
        (b"<html>", "not_a_picture"),
        (hostile.png(announced=60_000), "too_many_pixels"),
        (hostile.flat_jpeg(64, 300), "too_costly"),
        (LARGE[:-2000], "not_a_picture"),
    ):
        with pytest.raises(PictureError) as caught:
            decode_posted(data)
        assert caught.value.reason == reason
