"""Exit codes of commands, and their complete messages."""

import io
import logging
from collections.abc import Callable, Iterator

import dagster as dg
import pytest
from rich.console import Console

from pipeline.core.errors import InputError
from pipeline.runtime.exits import DONE, FAILED, WRONG_CALL, ended, explained


def raising(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("work", "code", "said"),
    [
        (lambda: DONE, DONE, ""),
        (lambda: FAILED, FAILED, ""),
        (raising(InputError("materialise splits[vendor_single] first")), WRONG_CALL, "splits[vendor_single] first"),
        (raising(OSError("[Errno 28] No space left")), FAILED, "failed: [Errno 28] No space left"),
        (raising(KeyboardInterrupt()), 130, "goes on from here"),
    ],
)
def test_the_code_and_the_whole_message_reach_the_caller(work: Callable[[], int], code: int, said: str):
    sink = io.StringIO()
    assert ended(work, Console(file=sink, width=120)) == code
    assert said in sink.getvalue()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def of_a_step(body: Callable[[], object]) -> BaseException:
    """Return what Dagster raises if a step runs `body`."""

    @dg.asset
    def broken() -> None:
        body()

    with pytest.raises(BaseException) as raised:
        dg.materialize([broken])
    return raised.value


def after_another() -> None:
    try:
        {}["image"]
    except KeyError as error:
        raise RuntimeError("the step failed") from error


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (raising(RuntimeError("the step failed")), "broken: the step failed"),
        (after_another, "broken: the step failed"),
        (raising(AssertionError()), "broken: AssertionError without a word"),
        (raising(KeyError("image")), "broken: KeyError: 'image'"),
        (raising(ValueError("no:\n  \x1b[2Jone\n  two")), r"broken: no: \x1b[2Jone; two"),
        (raising(ExceptionGroup("a group", [ValueError("the one inside")])), "broken: the one inside"),
        (raising(InputError("materialise splits first")), "materialise splits first"),
    ],
)
def test_a_failed_step_is_reported_in_one_line_with_the_original_message(body: Callable[[], object], said: str):
    assert explained(of_a_step(body)).startswith(said)
    assert "\n" not in explained(of_a_step(body))


def test_dagsters_interrupt_counts_as_a_stop():
    sink = io.StringIO()
    code = ended(raising(dg.DagsterExecutionInterruptedError()), Console(file=sink, width=120))
    assert (code, sink.getvalue().strip()) == (130, "stopped; the same command goes on from here")
