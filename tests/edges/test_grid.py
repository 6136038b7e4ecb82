"""Every command by every kind of end: it is over soon, in one line that says why, with the documented code."""

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.edges.commands import COMMANDS, SOON, Ended, call, here


@dataclass(frozen=True)
class Kind:
    """What befalls a command, and how it is to end."""

    code: int
    said: str  # a pattern of the line
    kind: str = ""  # as tests/edges/plugin has it
    signals: tuple[int, ...] = ()
    at: str = ""  # where, if not in the command's work


KINDS = {
    "a RuntimeError": Kind(1, "the step failed", "runtime error"),
    "a full disk": Kind(1, "/some/where.*make room on that disk", "disk full"),
    "an OSError without a mend": Kind(1, "/some/where", "an OSError without a mend"),
    "Ctrl-C": Kind(130, "stopped", "waits", (signal.SIGINT,)),
    "TERM": Kind(143, "stopped", "waits", (signal.SIGTERM,)),
}
# What a command does otherwise, and why.
OTHERWISE: dict[tuple[str, str], str] = {}


def faults(ended: Ended, code: int, said: str) -> list[str]:
    """What is wrong with an end, if anything: its exit code, its one line of reason, its noise, its seconds."""
    found = {
        f"exit code {ended.code} instead of {code}": ended.code != code,
        "a traceback": "Traceback" in ended.said,
        "an escape sequence": "\x1b" in ended.said,
        f"{len(ended.reasons)} lines of reason": len(ended.reasons) != 1,
        f"no {said!r} in the reason": not any(re.search(said, line) for line in ended.reasons),
        f"{ended.after} s from the failure to the end": ended.after is not None and ended.after >= here(SOON),
    }
    wrong = [fault for fault, there in found.items() if there]
    return [*wrong, ended.said] if wrong else []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_ends_soon_and_says_why(name: str, kind: str, home: Path, variables: dict[str, str]):
    one = KINDS[kind]
    ended = call(COMMANDS[name], home, variables, kind=one.kind, at=one.at, signals=one.signals)
    assert faults(ended, one.code, one.said) == []
    assert ended.after is not None, f"it never came to {COMMANDS[name].at}\n{ended.said}"


READING = [name for name, command in COMMANDS.items() if command.tables]


@pytest.mark.parametrize("name", READING)
def test_a_table_that_was_cut_off_is_named_with_what_makes_it(
    name: str, home: Path, variables: dict[str, str], ruin: Callable[[Path, int], None]
):
    [table] = COMMANDS[name].tables
    path = home / "tables" / f"{table}.parquet"
    ruin(path, path.stat().st_size // 2)
    ended = call(COMMANDS[name], home, variables)
    if name == "lookbook":  # leaves a section out, and says which and why
        assert ended.code in (0, 1, 2) and f"{table}.parquet" in ended.said, ended.said
        return
    assert faults(ended, 2 if ended.code == 2 else 1, rf"tables/{table}\.parquet.*materialise {table}") == []


@pytest.mark.parametrize("name", [name for name in READING if name not in ("erase", "lookbook")])
def test_a_table_that_is_gone_is_named(name: str, home: Path, variables: dict[str, str]):
    [table] = COMMANDS[name].tables
    (home / "tables" / f"{table}.parquet").unlink()
    ended = call(COMMANDS[name], home, variables)
    assert faults(ended, 2 if ended.code == 2 else 1, rf"{table}.*pipeline\.run|{table}.*materialise") == []
