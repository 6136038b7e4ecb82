"""A drop is followed until a run has read it: real runs, and a sensor and clock that the test advances."""

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from pipeline.build import build_definitions
from pipeline.core.raw import passed_over
from pipeline.home import environment, instance
from pipeline.runtime.resources import RawSources, default_resources
from pipeline.runtime.tracking import Tracker
from pipeline.upkeep import drops, observation
from pipeline.upkeep.drops import BACKOFF, DropStatus, Outcome, State, step
from pipeline.upkeep.recovery import recover
from pipeline.upkeep.workers import this_process
from tests.pipeline.conftest import TINY, isolate

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow
INGEST = ["reviews", "products", "rejects"]


def review(user: str) -> str:
    return json.dumps({"reviewerID": user, "asin": "B1", "overall": 5.0, "unixReviewTime": 1_500_000_000}) + "\n"


class Home:
    """A home whose tables were made once, with its drops folder, and a clock and daemon that the test drives."""

    def __init__(self, folder: Path, opened: dg.DagsterInstance) -> None:
        self.folder, self.instance = folder, opened
        self.drops, self.now = folder / "drops", 1_900_000_000.0
        self.cursor: str | None = None
        self.definitions = build_definitions()
        self.refreshed: str | None = None
        self.evaluations: list[dg.AssetCheckEvaluation] = []

    def drop(self, name: str, *users: str, cut: bool = False) -> Path:
        whole = gzip.compress("".join(map(review, users)).encode(), mtime=0)
        path = self.drops / name
        path.write_bytes(whole[: len(whole) // 2] if cut else whole)
        return path

    @property
    def raw(self) -> RawSources:
        return default_resources()["raw"]

    def tick(self) -> dg.RunRequest | str:
        """Evaluate the sensor once; return its request, or its message."""
        found = observation.evaluate(self.instance, self.cursor, self.raw, "", self.now)
        if isinstance(found, dg.SkipReason):
            return found.skip_message or ""
        self.cursor = found.cursor or self.cursor
        for event in found.asset_events or []:
            assert isinstance(event, dg.AssetCheckEvaluation)
            self.evaluations.append(event)
            self.instance.report_runless_asset_event(event)
        requests = list(found.run_requests or [])
        return requests[0] if requests else found.skip_reason.skip_message or ""

    def run(self, request: dg.RunRequest) -> bool:
        job = self.definitions.resolve_job_def(request.job_name or "")
        return job.execute_in_process(instance=self.instance, raise_on_error=False, tags=dict(request.tags)).success

    def refresh(self) -> list[bool]:
        """Run what the automation requests now; return whether each run succeeded."""
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.refreshed, definitions=self.definitions, resources=default_resources()
        ) as context:
            ticked = self.definitions.resolve_sensor_def("refresh").evaluate_tick(context)
        self.refreshed = ticked.cursor or self.refreshed
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return [
            job.execute_in_process(
                instance=self.instance, asset_selection=list(asked.asset_selection or []), raise_on_error=False
            ).success
            for asked in ticked.run_requests or []
        ]

    def settle(self) -> str:
        """Evaluate and run until nothing is requested; return the sensor's last message."""
        for _ in range(8):
            result = self.tick()
            if isinstance(result, dg.RunRequest):
                self.run(result)
            elif not self.refresh():
                return result
        raise AssertionError(f"does not settle: {self.cursor}")

    def knows(self, *users: str) -> bool:
        """Return whether the reviews table has these users."""
        return set(users) <= set(
            pq.read_table(self.folder / "home" / "tables" / "reviews.parquet")["reviewer_id"].to_pylist()
        )

    def check(self) -> dg.AssetCheckEvaluation:
        """Return the latest evaluation of the check on the reviews, as the UI shows it."""
        key = dg.AssetCheckKey(dg.AssetKey("raw_reviews"), "every_file_was_read")
        record = self.instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
        event = record.event.dagster_event if record.event else None
        assert event is not None
        return event.asset_check_evaluation_data


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Make one home for all tests, because making it takes most of their time. Each test leaves it settled."""
    with pytest.MonkeyPatch.context() as patch:
        yield from made(patch, tmp_path_factory.mktemp("drops"))


def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Home]:
    (tmp_path / "drops").mkdir()
    (tmp_path / "products.jsonl").write_text('{"asin": "B1", "title": "A dress", "imUrl": "http://x.example/1.jpg"}\n')
    isolate(
        monkeypatch, tmp_path / "home", ATELIER_REVIEWS=str(tmp_path / "drops"),
        ATELIER_PRODUCTS=str(tmp_path / "products.jsonl"), ATELIER_PROFILE=str(TINY), DAGSTER_HOME="",
    )  # fmt: skip
    with instance.open_instance(tmp_path / "home") as opened:
        home = Home(tmp_path, opened)
        home.drop("0.jsonl.gz", "A", "B")
        jobs = (("observe_sources", None), ("everything", [dg.AssetKey(name) for name in INGEST]))
        for name, selection in jobs:
            job = home.definitions.resolve_job_def(name)
            assert job.execute_in_process(instance=opened, asset_selection=selection).success
        assert home.settle() == "the raw files are unchanged"
        yield home


def test_the_cursor_advances_only_after_the_drop_was_read(home: Home):
    before = State.of(home.cursor).taken
    home.drop("c.jsonl.gz", "C")
    asked = home.tick()
    assert isinstance(asked, dg.RunRequest) and asked.job_name == "observe_sources"
    assert State.of(home.cursor).taken == before
    assert home.run(asked)
    assert home.tick() == "the last drop was observed; its ingest waits for its turn"
    assert State.of(home.cursor).taken == before and not home.knows("C")
    assert home.settle() == "the raw files are unchanged"
    assert State.of(home.cursor).taken != before and home.knows("A", "B", "C")
    assert home.check().passed


def test_a_request_whose_run_never_started_is_made_again(home: Home):
    """As when the daemon stops between the sensor's request and the run."""
    home.drop("lost.jsonl.gz", "LOST")
    first, second = home.tick(), home.tick()
    assert isinstance(first, dg.RunRequest) and isinstance(second, dg.RunRequest)
    assert home.run(second) and home.settle() == "the raw files are unchanged" and home.knows("LOST")


def test_a_second_drop_waits_until_the_first_is_read(home: Home):
    home.drop("first.jsonl.gz", "FIRST")
    asked = home.tick()
    assert isinstance(asked, dg.RunRequest)
    job = home.definitions.resolve_job_def("observe_sources")
    run = home.instance.create_run_for_job(job, tags=dict(asked.tags), status=dg.DagsterRunStatus.STARTED)
    home.drop("second.jsonl.gz", "SECOND")
    assert home.tick() == home.tick() == "the last drop is being read"
    home.instance.report_run_canceled(run)
    home.now += BACKOFF[0] + 1
    home.tick()
    home.now += BACKOFF[1] + 1
    assert home.settle() == "the raw files are unchanged" and home.knows("FIRST", "SECOND")


def test_a_killed_run_is_retried_after_the_backoff(home: Home):
    home.drop("killed.jsonl.gz", "KILLED")
    asked = home.tick()
    assert isinstance(asked, dg.RunRequest)
    body = "import json, sys; from tests.pipeline.upkeep.test_drops import dies; dies(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", body, str(home.folder / "home"), json.dumps(asked.tags)], cwd=ROOT, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    assert home.tick() == "the last drop is being read"  # as far as Dagster knows
    folder = home.folder / "home"
    tracker = Tracker(tracking_uri=environment.tracking_uri(folder), artifact_root=environment.artifact_root(folder))
    assert len(recover(home.instance, folder, tracker).runs) == 1  # as the daemon's health check does
    assert "next try in 60 s" in str(home.tick())
    home.now += BACKOFF[0] + 1
    assert home.settle() == "the raw files are unchanged" and home.knows("KILLED")


def dies(home: str, tags: str) -> None:
    """Execute the requested job in this process, which kills itself once it begins to read."""
    RawSources.review_version = lambda _: os.kill(os.getpid(), signal.SIGKILL)
    with instance.open_instance(Path(home)) as opened:
        job = build_definitions().resolve_job_def("observe_sources")
        job.execute_in_process(instance=opened, tags={**json.loads(tags), **this_process()})


def test_a_half_copied_file_is_read_when_it_is_whole(home: Home):
    home.drop("half.jsonl.gz", *map(str, range(50)), cut=True)
    assert "half.jsonl.gz" in home.settle() and not home.knows("0")
    home.drop("half.jsonl.gz", *map(str, range(50)))
    assert home.settle() == "the raw files are unchanged"  # at once, because the changed file has no failed tries
    assert home.knows(*map(str, range(50))) and home.check().passed


def test_an_unreadable_file_is_given_up_on_after_three_tries_and_blocks_no_other(home: Home):
    bad = home.drop("bad.jsonl.gz", *map(str, range(50, 99)), cut=True)
    home.drop("good.jsonl.gz", "GOOD")
    assert "next try in 60 s" in home.settle() and not home.knows("GOOD")
    home.now += 30
    assert "next try in 30 s" in str(home.tick())
    home.now += BACKOFF[0]
    again = home.tick()
    assert isinstance(again, dg.RunRequest) and again.job_name == "read_again" and not home.run(again)
    assert "next try in 600 s" in str(home.tick()) and home.check().passed
    home.now += BACKOFF[1] + 1
    assert home.settle() == "the raw files are unchanged"
    assert home.knows("GOOD")

    [reported] = [evaluation for evaluation in home.evaluations if not evaluation.passed]
    for evaluation in (reported, home.check()):
        assert not evaluation.passed and evaluation.metadata["files"].value == [str(bad)]
        assert "cut short or damaged" in str(evaluation.metadata["why"].value)
        assert "Put a whole file in its place" in str(evaluation.metadata["mend"].value)

    home.drop("later.jsonl.gz", "LATER")
    assert home.settle() == "the raw files are unchanged" and home.knows("LATER")
    assert not home.check().passed  # still
    home.drop("bad.jsonl.gz", "MENDED")
    assert home.settle() == "the raw files are unchanged" and home.knows("MENDED")
    assert home.check().passed


def test_a_wrongly_skipped_file_is_read_again_when_the_list_is_deleted(home: Home):
    path = home.drop("innocent.jsonl.gz", "INNOCENT")
    mark = home.raw.marks()["raw_reviews"][str(path)]
    passed_over.write(home.raw.home, [passed_over.GivenUp("raw_reviews", str(path), mark, "disk full", 3, "")])
    assert home.settle() == "the raw files are unchanged" and not home.knows("INNOCENT")
    (home.folder / "home" / passed_over.LIST).unlink()
    assert home.settle() == "the raw files are unchanged" and home.knows("INNOCENT")


def test_a_source_whose_only_file_is_bad_is_reported_and_read_once_it_is_mended(home: Home):
    products = home.folder / "products.jsonl"
    good = products.read_text()
    products.write_text("[]]")
    home.evaluations.clear()
    for pause in (*BACKOFF, 0):
        home.settle()
        home.now += pause + 1
    home.settle()
    assert [(e.asset_key.to_user_string(), e.passed) for e in home.evaluations] == [("raw_products", False)]
    assert "Nothing new is read" in str(home.evaluations[0].metadata["why"].value)
    products.write_text(good + '{"asin": "B2", "title": "A shirt", "imUrl": "http://x.example/2.jpg"}\n')
    assert home.settle() == "the raw files are unchanged"
    assert pq.read_table(home.folder / "home" / "tables" / "products.parquet").num_rows == 2


def test_a_cursor_of_the_older_version_is_converted(home: Home):
    old = json.dumps(home.raw.legacy_digests(home.raw.marks()))
    home.cursor = old
    assert home.settle() == "the raw files are unchanged"
    home.cursor = old
    home.drop("old.jsonl.gz", "OLD")
    asked = home.tick()
    assert isinstance(asked, dg.RunRequest) and asked.tags["atelier/changed"] == "raw_reviews"


MARKS = {"raw_reviews": {"a": "1", "b": "1"}, "raw_products": {"p": "1"}}


def test_a_failure_that_names_no_file_counts_against_every_new_file_and_no_other():
    state = step(State(taken={**MARKS, "raw_reviews": {"a": "1"}}), MARKS, 0.0, None).state
    now = 0.0
    for times in range(drops.TRIES):
        found = step(state, MARKS, now, Outcome(DropStatus.FAILED, "killed"))
        if times < drops.TRIES - 1:
            assert found.request == "" and found.given_up == ()
            now = found.state.again_at
            assert step(found.state, MARKS, now - 1, None).request == ""
            state = step(found.state, MARKS, now, None).state
            assert state.drop is not None
    assert [entry[:2] for entry in found.given_up] == [("raw_reviews", "b")]


def test_new_files_do_not_give_a_bad_one_further_tries():
    state = State(taken={"raw_reviews": {}})
    marks: dict[str, dict[str, str]] = {"raw_reviews": {"bad": "1"}}
    now, given_up = 0.0, ()
    for day in range(drops.TRIES):
        marks = {"raw_reviews": {**marks["raw_reviews"], f"good{day}": "1"}}
        state = step(state, marks, now, None).state
        found = step(state, marks, now, Outcome(DropStatus.FAILED, "bad: cut short"))
        state, given_up, now = found.state, found.given_up, found.state.again_at
    assert [entry[1] for entry in given_up] == ["bad"]


@pytest.mark.parametrize("bad", ["/d/old_reviews.json", "/d/reviews.json.gz", "/e/d/reviews.json"])
def test_a_file_is_not_blamed_because_its_name_is_part_of_a_bad_ones(bad: str):
    marks = {"raw_reviews": {"/d/reviews.json": "1", "reviews.json": "1", bad: "1"}, "garment_rules": {"": "1"}}
    state = step(State(taken={}), marks, 0.0, None).state
    found = step(state, marks, 0.0, Outcome(DropStatus.FAILED, f"{bad}: the compressed file is cut short or damaged"))
    assert {source: list(files) for source, files in found.state.failed.items()} == {"raw_reviews": [bad]}


def test_an_ingest_that_failed_before_is_requested_when_the_automation_does_not_retry_it():
    state = step(State(taken={}), MARKS, 0.0, None).state
    waiting = Outcome(DropStatus.WAITING, "it failed before", drops.INGEST)
    assert step(state, MARKS, drops.AUTOMATION_TIMEOUT - 1, waiting).request == ""
    assert step(state, MARKS, drops.AUTOMATION_TIMEOUT + 1, waiting).request == drops.INGEST
    never_failed = Outcome(DropStatus.WAITING)  # the automation may be switched off
    assert step(state, MARKS, drops.AUTOMATION_TIMEOUT + 1, never_failed).request == ""


def test_the_cursor_is_read_as_it_was_written():
    state = step(State(taken={"raw_reviews": {}}), MARKS, 5.0, None).state
    assert State.of(state.cursor()) == state
    assert State.of(None) == State()
