"""How a command ends: its exit code, and a message in which nothing is lost."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from pipeline.core.raw.sources import BadInput
from pipeline.runtime.exits import DONE, FAILED, WRONG_CALL, ended


def raising(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("work", "code", "said"),
    [
        (lambda: DONE, DONE, ""),
        (lambda: FAILED, FAILED, ""),
        (raising(BadInput("materialise splits[vendor_single] first")), WRONG_CALL, "splits[vendor_single] first"),
        (raising(OSError("[Errno 28] No space left")), FAILED, "failed: [Errno 28] No space left"),
        (raising(KeyboardInterrupt()), FAILED, "goes on from here"),
    ],
)
def test_the_code_and_the_whole_message_reach_the_caller(work: Callable[[], int], code: int, said: str):
    sink = io.StringIO()
    assert ended(work, Console(file=sink, width=120)) == code
    assert said in sink.getvalue()
