"""Decide what to do about a drop, which is a set of new or changed raw files, until a run has read it or three failed.

Pure functions: the files, the last request's outcome and the time go in, the next request comes out. The sensor in
`observation.py` calls them, and `drop_outcome.py` finds out what became of a request.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum

Marks = dict[str, dict[str, str]]  # source -> file -> size and date, or the version that the server reports
OBSERVE, INGEST = "observe", "ingest"  # requests: read the files' digests, or make the tables again
TRIES = 3
AUTOMATION_TIMEOUT = 180.0  # seconds for the automation to retry a failed ingest; it evaluates twice a minute
BACKOFF = (60.0, 600.0)  # seconds before the second and the third try


class DropStatus(Enum):
    """How far a drop has come; the value completes a sentence for the UI."""

    RUNNING = "is being read"
    WAITING = "was observed; its ingest waits for its turn"
    NEVER_STARTED = "was never started"
    DONE = "was read"
    FAILED = "could not be read"


@dataclass(frozen=True)
class Outcome:
    """What became of a request."""

    status: DropStatus
    error: str = ""
    stage: str = OBSERVE  # the stage that failed


@dataclass(frozen=True)
class Drop:
    """A request. `marks` were taken before it, so that a file that grows meanwhile counts as changed."""

    id: str
    marks: Marks
    asked: float  # unix seconds


@dataclass(frozen=True)
class State:
    """The sensor's state. Field names are the cursor's JSON keys: never rename them."""

    taken: Marks = field(default_factory=dict)  # of the files that a run has read
    drop: Drop | None = None
    failed: dict[str, dict[str, list]] = field(default_factory=dict)  # source -> file -> [mark, tries, error]
    again_at: float = 0.0  # unix seconds of the next try
    again: str = OBSERVE  # its request
    again_of: str = ""  # digest of the marks that failed
    owed: bool = False  # observe even if no file changed: giving up on files changes the source's version
    looks: dict[str, str] | None = None  # from a cursor of an older version: source -> digest

    @classmethod
    def of(cls, cursor: str | None) -> "State":
        """Parse a cursor of this or the older version, or return the initial state."""
        content = json.loads(cursor) if cursor else {}
        if "taken" not in content:
            return cls(looks=content or None)
        drop = content.pop("drop")
        return cls(**content, drop=Drop(**drop) if drop else None)

    def cursor(self) -> str:
        """Format the state as a cursor."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class DropStep:
    """The result of one evaluation of the sensor."""

    state: State
    message: str
    request: str = ""  # OBSERVE, INGEST, or none
    changed: tuple[str, ...] = ()  # sources with changed files
    given_up: tuple[tuple[str, str, str, str], ...] = ()  # (source, file, mark, error), to be skipped from now on


def step(state: State, marks: Marks, now: float, outcome: Outcome | None) -> DropStep:
    """Compute the next state and request.

    Args:
        state: of the last evaluation.
        marks: of the present files, without those given up on.
        now: unix seconds.
        outcome: of `state.drop`; None if there is no drop.
    """
    if state.drop is not None and outcome is not None:
        waiting = outcome.status is DropStatus.WAITING
        if outcome.status is DropStatus.RUNNING or (waiting and marks == state.drop.marks):
            overdue = outcome.stage == INGEST and now - state.drop.asked > AUTOMATION_TIMEOUT
            if waiting and overdue:
                changed = changed_files(state.taken, marks)
                drop = Drop(uuid.uuid4().hex, marks, now)
                return DropStep(replace(state, drop=drop), "requested", INGEST, tuple(sorted(changed)))
            return DropStep(state, f"the last drop {outcome.status.value}")
        if outcome.status is DropStatus.DONE:
            state = State(taken=state.drop.marks)
        elif outcome.status is DropStatus.FAILED:
            return _after_failure(state, state.drop, marks, now, outcome)
    changed = changed_files(state.taken, marks)
    if not changed and state.drop is None and not state.owed:
        return DropStep(state, "the raw files are unchanged")
    pending = [name for files in _unchanged(state.failed, marks).values() for name in files]
    if (pending or state.owed) and now < state.again_at:
        return DropStep(state, f"{', '.join(pending) or 'the sources'}: next try in {state.again_at - now:.0f} s")
    same = bool(pending) and state.again == INGEST and state.again_of == _digest(marks)
    drop = Drop(uuid.uuid4().hex, marks, now)
    return DropStep(replace(state, drop=drop), "requested", INGEST if same else OBSERVE, tuple(sorted(changed)))


def _after_failure(state: State, drop: Drop, marks: Marks, now: float, outcome: Outcome) -> DropStep:
    suspects = changed_files(state.taken, drop.marks)
    named = {s: {n: m for n, m in files.items() if _names(outcome.error, n)} for s, files in suspects.items()}
    if any(named.values()):  # the error names files, so the drop's other files are not to blame
        suspects = {source: files for source, files in named.items() if files}
    failed: dict[str, dict[str, list]] = {}
    for source, files in suspects.items():
        for name, mark in files.items():
            before = state.failed.get(source, {}).get(name, ["", 0, ""])
            tries = before[1] + 1 if before[0] == mark else 1
            failed.setdefault(source, {})[name] = [mark, tries, outcome.error]
    failed = _unchanged(failed, marks)  # a file that has changed meanwhile starts with no failed tries
    given_up = tuple(
        (source, name, mark, error)
        for source, files in failed.items()
        for name, (mark, tries, error) in files.items()
        if tries >= TRIES
    )
    if given_up:  # the caller lists them as skipped, and evaluates again at once
        return DropStep(State(taken=state.taken), "given up", given_up=given_up)
    tries = max((entry[1] for files in failed.values() for entry in files.values()), default=0)
    wait = BACKOFF[tries - 1] if tries else BACKOFF[-1] if state.owed else 0.0
    again: dict = {"again_at": now + wait, "again": outcome.stage, "again_of": _digest(drop.marks)}
    state = State(state.taken, failed=failed, owed=state.owed, **again)
    if not wait:
        return step(state, marks, now, None)
    return DropStep(state, f"{outcome.status.value} ({outcome.error}): next try in {wait:.0f} s")


def _names(error: str, file: str) -> bool:
    """Return whether an error names this file, and not only one whose name contains its name."""
    return bool(file) and re.search(rf"(?<![\w./-]){re.escape(file)}(?![\w/-]|\.\w)", error) is not None


def force_observation(state: State, marks: Marks, now: float) -> DropStep:
    """Request an observation even if no file changed, because giving up on files changes the source's version."""
    state = replace(state, drop=Drop(uuid.uuid4().hex, marks, now), owed=True)
    return DropStep(state, "requested", OBSERVE, tuple(sorted(marks)))


def changed_files(taken: Marks, now: Marks) -> Marks:
    """Find the new and changed files, by source; a source that only lost files is listed with no file."""
    found = {}
    for source, files in now.items():
        before = taken.get(source)
        if before != files:
            found[source] = {name: mark for name, mark in files.items() if (before or {}).get(name) != mark}
    return found


def _unchanged(failed: Mapping[str, Mapping[str, list]], marks: Marks) -> dict[str, dict[str, list]]:
    """Keep the failed files that still have the mark they failed with."""
    kept: dict[str, dict[str, list]] = {}
    for source, files in failed.items():
        for name, entry in files.items():
            if marks.get(source, {}).get(name) == entry[0]:
                kept.setdefault(source, {})[name] = entry
    return kept


def _digest(marks: Marks) -> str:
    return hashlib.sha256(json.dumps(marks, sort_keys=True).encode()).hexdigest()[:16]
