"""A drop: files that are new or changed, followed until a run has read them, or given up on after three tries.

Pure: what is there, what came of the last request and the clock go in, what to ask for comes out. The sensor that
feeds it is `observation.py`'s; what came of a request is `readings.py`'s.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum

Marks = dict[str, dict[str, str]]  # by source and file: size and date, or the server's version
OBSERVE, INGEST = "observe", "ingest"  # what is asked for: the files' content looked at, or the tables made again
TRIES = 3
PATIENCE = 180.0  # seconds that the automation has for beginning with what failed before; it looks twice a minute
BACKOFF = (60.0, 600.0)  # seconds before the second and the third try


class End(Enum):
    """How far a drop has come."""

    RUNNING = "is being read"
    WAITING = "was looked at; its reading waits for its turn"
    LOST = "was never begun"
    WELL = "was read"
    FAILED = "could not be read"


@dataclass(frozen=True)
class Outcome:
    """What came of a request."""

    end: End
    error: str = ""
    stage: str = OBSERVE  # in which of the two it failed


@dataclass(frozen=True)
class Drop:
    """What was asked for; `marks` are those from before the request, so a file that grows is seen again."""

    id: str
    marks: Marks
    asked: float  # unix seconds


@dataclass(frozen=True)
class State:
    """What the cursor holds."""

    taken: Marks = field(default_factory=dict)
    drop: Drop | None = None
    failed: dict[str, dict[str, list]] = field(default_factory=dict)  # by source and file: mark, times, error
    again_at: float = 0.0
    again: str = OBSERVE
    again_of: str = ""  # digest of the marks that failed
    owed: bool = False  # a look at the contents whether anything changed or not: what was given up on is no part of it
    looks: dict[str, str] | None = None  # of a cursor of an older version: a digest a source

    @classmethod
    def of(cls, cursor: str | None) -> "State":
        """A cursor read: this version's, the older one's, or none."""
        told = json.loads(cursor) if cursor else {}
        if "taken" not in told:
            return cls(looks=told or None)
        drop = told.pop("drop")
        return cls(**told, drop=Drop(**drop) if drop else None)

    def cursor(self) -> str:
        """The state as a cursor."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class Step:
    """What a look comes to."""

    state: State
    told: str
    ask: str = ""  # OBSERVE, INGEST, or nothing
    changed: tuple[str, ...] = ()  # the sources that look otherwise
    given_up: tuple[tuple[str, str, str, str], ...] = ()  # (source, file, mark, error), to be passed over from now on


def step(state: State, marks: Marks, now: float, outcome: Outcome | None) -> Step:
    """The next state, and what to ask for.

    Args:
        state: as the last look left it.
        marks: of what is there now, less what was given up on.
        now: unix seconds.
        outcome: of `state.drop`; None where there is none.
    """
    if state.drop is not None and outcome is not None:
        if outcome.end is End.RUNNING or (outcome.end is End.WAITING and marks == state.drop.marks):
            overdue = outcome.stage == INGEST and now - state.drop.asked > PATIENCE
            if outcome.end is End.WAITING and overdue:
                changed = new(state.taken, marks)
                drop = Drop(uuid.uuid4().hex, marks, now)
                return Step(replace(state, drop=drop), "asked for", INGEST, tuple(sorted(changed)))
            return Step(state, f"the last drop {outcome.end.value}")
        if outcome.end is End.WELL:
            state = State(taken=state.drop.marks)
        elif outcome.end is End.FAILED:
            return _after_failure(state, state.drop, marks, now, outcome)
    changed = new(state.taken, marks)
    if not changed and state.drop is None and not state.owed:
        return Step(state, "the raw files look as they did")
    pending = [name for files in _still(state.failed, marks).values() for name in files]
    if (pending or state.owed) and now < state.again_at:
        return Step(state, f"{', '.join(pending) or 'the sources'}: tried again in {state.again_at - now:.0f} s")
    same = bool(pending) and state.again == INGEST and state.again_of == _digest(marks)
    drop = Drop(uuid.uuid4().hex, marks, now)
    return Step(replace(state, drop=drop), "asked for", INGEST if same else OBSERVE, tuple(sorted(changed)))


def _after_failure(state: State, drop: Drop, marks: Marks, now: float, outcome: Outcome) -> Step:
    suspects = new(state.taken, drop.marks)
    told_of = {s: {name: m for name, m in files.items() if name in outcome.error} for s, files in suspects.items()}
    if any(told_of.values()):  # the error names files: the others of the drop are not to blame
        suspects = {source: files for source, files in told_of.items() if files}
    failed: dict[str, dict[str, list]] = {}
    for source, files in suspects.items():
        for name, mark in files.items():
            before = state.failed.get(source, {}).get(name, ["", 0, ""])
            times = before[1] + 1 if before[0] == mark else 1
            failed.setdefault(source, {})[name] = [mark, times, outcome.error]
    failed = _still(failed, marks)  # what has changed meanwhile is another file
    given_up = tuple(
        (source, name, mark, error)
        for source, files in failed.items()
        for name, (mark, times, error) in files.items()
        if times >= TRIES
    )
    if given_up:  # the caller passes them over, and looks anew at once
        return Step(State(taken=state.taken), "given up on", given_up=given_up)
    times = max((entry[1] for files in failed.values() for entry in files.values()), default=0)
    wait = BACKOFF[times - 1] if times else BACKOFF[-1] if state.owed else 0.0
    again: dict = {"again_at": now + wait, "again": outcome.stage, "again_of": _digest(drop.marks)}
    state = State(state.taken, failed=failed, owed=state.owed, **again)
    if not wait:
        return step(state, marks, now, None)
    return Step(state, f"{outcome.end.value} ({outcome.error}): tried again in {wait:.0f} s")


def asked_anew(state: State, marks: Marks, now: float) -> Step:
    """A look at the files whether they changed or not: after some were given up on, the rest is another version."""
    state = replace(state, drop=Drop(uuid.uuid4().hex, marks, now), owed=True)
    return Step(state, "asked for", OBSERVE, tuple(sorted(marks)))


def new(taken: Marks, now: Marks) -> Marks:
    """By source, the files that are new or changed; a source that only lost files is in it, empty."""
    found = {}
    for source, files in now.items():
        before = taken.get(source)
        if before != files:
            found[source] = {name: mark for name, mark in files.items() if (before or {}).get(name) != mark}
    return found


def _still(failed: Mapping[str, Mapping[str, list]], marks: Marks) -> dict[str, dict[str, list]]:
    """Of what failed, what is there unchanged."""
    kept: dict[str, dict[str, list]] = {}
    for source, files in failed.items():
        for name, entry in files.items():
            if marks.get(source, {}).get(name) == entry[0]:
                kept.setdefault(source, {})[name] = entry
    return kept


def _digest(marks: Marks) -> str:
    return hashlib.sha256(json.dumps(marks, sort_keys=True).encode()).hexdigest()[:16]
