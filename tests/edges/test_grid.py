"""Every command meets every kind of failure: it ends soon, with one line of reason and the documented exit code."""

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.edges.commands import COMMANDS, SOON, Ended, call, scaled


@dataclass(frozen=True)
class Kind:
    """A failure, and how the command must end after it."""

    code: int
    reason: str  # a pattern of the line
    kind: str = ""  # of `plugin/sitecustomize.py`
    signals: tuple[int, ...] = ()
    at: str = ""  # the function where it happens, if not the command's own


KINDS = {
    "a RuntimeError": Kind(1, "the step failed", "runtime error"),
    "a full disk": Kind(1, "/some/where.*make room on that disk", "disk full"),
    "an OSError without a mend": Kind(1, "/some/where", "an OSError without a mend"),
    "Ctrl-C": Kind(130, "stopped", "waits", (signal.SIGINT,)),
    "TERM": Kind(143, "stopped", "waits", (signal.SIGTERM,)),
}


def faults(ended: Ended, code: int, reason: str) -> list[str]:
    """List what is wrong with an end: the exit code, the line of reason, other output, or the time it took."""
    found = {
        f"exit code {ended.code} instead of {code}": ended.code != code,
        "a traceback": "Traceback" in ended.output,
        "an escape sequence": "\x1b" in ended.output,
        f"{len(ended.reasons)} lines of reason": len(ended.reasons) != 1,
        f"no {reason!r} in the reason": not any(re.search(reason, line) for line in ended.reasons),
        f"{ended.after} s from the failure to the end": ended.after is not None and ended.after >= scaled(SOON),
    }
    wrong = [fault for fault, is_wrong in found.items() if is_wrong]
    return [*wrong, ended.output] if wrong else []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_ends_soon_and_says_why(name: str, kind: str, home: Path, variables: dict[str, str]):
    one = KINDS[kind]
    ended = call(COMMANDS[name], home, variables, kind=one.kind, at=one.at, signals=one.signals)
    assert faults(ended, one.code, one.reason) == []
    assert ended.after is not None, f"it never called {COMMANDS[name].at}\n{ended.output}"


READING = [name for name, command in COMMANDS.items() if command.tables]


@pytest.mark.parametrize("name", READING)
def test_a_truncated_table_is_named_with_the_asset_that_makes_it(
    name: str, home: Path, variables: dict[str, str], truncate: Callable[[Path, int], None]
):
    [table] = COMMANDS[name].tables
    path = home / "tables" / f"{table}.parquet"
    truncate(path, path.stat().st_size // 2)
    ended = call(COMMANDS[name], home, variables)
    if name == "lookbook":  # it leaves a section out, and reports which and why
        assert ended.code in (0, 1, 2) and f"{table}.parquet" in ended.output, ended.output
        return
    assert faults(ended, 2 if ended.code == 2 else 1, rf"tables/{table}\.parquet.*materialise {table}") == []


@pytest.mark.parametrize("name", [name for name in READING if name not in ("erase", "lookbook")])
def test_a_missing_table_is_named(name: str, home: Path, variables: dict[str, str]):
    [table] = COMMANDS[name].tables
    (home / "tables" / f"{table}.parquet").unlink()
    ended = call(COMMANDS[name], home, variables)
    assert faults(ended, 2 if ended.code == 2 else 1, rf"{table}.*pipeline\.run|{table}.*materialise") == []
