"""Test the schedule of requests on a clock that the test sets."""

import tracemalloc

import pytest

from pipeline.core.images.schedule import Job, Schedule


def schedule(urls: dict[str, int], concurrency: int = 100, per_host: int = 8, **rest: float) -> Schedule:
    """Make a schedule with these numbers of URLs per host, numbered in order."""
    made = Schedule(concurrency, per_host, **rest)  # type: ignore[arg-type]
    number = 0
    for host, count in urls.items():
        for _ in range(count):
            made.add(host, number)
            number += 1
    return made


def take_all(plan: Schedule, now: float = 0.0) -> list[Job]:
    jobs = []
    while job := plan.take(now):
        jobs.append(job)
    return jobs


def settle(plan: Schedule, jobs: list[Job], answered: bool = True) -> None:
    for job in jobs:
        plan.done(job, answered)


def prove(plan: Schedule) -> None:
    """Let every host answer until it has all its slots, and settle its URLs."""
    for _ in range(10):
        settle(plan, take_all(plan))


def test_hosts_take_turns() -> None:
    plan = schedule({"a": 3, "b": 3})
    assert [job.host.name for job in take_all(plan)] == ["a", "b"] * 3


def test_every_url_is_taken_once_and_then_all_is_finished() -> None:
    plan = schedule({"a": 30, "b": 7}, per_host=3)
    seen = []
    while jobs := take_all(plan):
        seen += [job.url for job in jobs]
        assert not plan.finished
        settle(plan, jobs)
    assert sorted(seen) == list(range(37))
    assert plan.finished


def test_a_new_host_gets_four_slots_and_one_more_with_each_answer_up_to_its_share() -> None:
    plan = schedule({"a": 100}, per_host=6)
    jobs = take_all(plan)
    assert len(jobs) == 4
    plan.done(jobs[0], answered=True)
    jobs = jobs[1:] + take_all(plan)
    assert len(jobs) == 5
    for _ in range(5):
        plan.done(jobs.pop(0), answered=True)
        jobs += take_all(plan)
    assert len(jobs) == 6


def test_a_host_in_a_streak_of_failures_keeps_one_slot() -> None:
    plan = schedule({"a": 1000}, per_host=16)
    prove(plan)
    jobs = take_all(plan)
    assert len(jobs) == 16
    settle(plan, jobs, answered=False)
    assert len(take_all(plan)) == 1


def test_no_more_slots_are_taken_than_there_are() -> None:
    plan = schedule({"a": 50, "b": 50, "c": 50}, concurrency=10)
    prove(plan)
    assert len(take_all(plan)) == 10


@pytest.mark.parametrize(("concurrency", "left"), [(128, 32), (6, 1), (2, 1)])
def test_unproven_hosts_leave_a_quarter_of_the_slots_free(concurrency: int, left: int) -> None:
    plan = schedule({"good": 500}, concurrency)
    prove(plan)
    for number in range(1000):
        plan.add(f"hangs-{number}", 1000 + number)
    jobs = take_all(plan)
    hanging = [job for job in jobs if job.host.name != "good"]
    assert len(hanging) == concurrency - left
    assert len(jobs) - len(hanging) == min(left, 8)


def test_a_good_host_is_finished_while_a_thousand_others_hang() -> None:
    plan = schedule({"good": 500}, concurrency=8)
    prove(plan)
    for number in range(20_000):
        plan.add(f"hangs-{number % 1000}", 1000 + number)
    while plan.hosts["good"].queued:
        good = [job for job in take_all(plan) if job.host.name == "good"]
        assert good
        settle(plan, good)


def test_with_one_slot_unproven_hosts_still_get_requests() -> None:
    assert len(take_all(schedule({"a": 1, "b": 1}, concurrency=1))) == 1


def test_a_host_that_stops_answering_becomes_unproven() -> None:
    plan = schedule({"a": 1000}, concurrency=8, per_host=8)
    prove(plan)
    jobs = take_all(plan)
    assert len(jobs) == 8  # the only host that has answered may hold every slot
    for number in range(100):
        plan.add(f"new-{number}", 1000 + number)
    settle(plan, jobs[:4], answered=False)
    assert len(take_all(plan)) == 2  # of six slots for the unproven `a` still holds four


def run_clock(plan: Schedule, seconds: float, step: float = 0.01) -> list[float]:
    """Return the times at which jobs started, each answered at once."""
    times = []
    for tick in range(round(seconds / step) + 1):
        now = tick * step
        for job in take_all(plan, now):
            times.append(now)
            plan.done(job, answered=True)
    return times


def test_a_rate_starts_with_a_burst_and_continues_evenly() -> None:
    times = run_clock(schedule({"a": 100}, rate=10.0, burst=4), seconds=1.0)
    assert times == pytest.approx([0.0] * 4 + [n / 10 for n in range(1, 11)], abs=0.011)


def test_an_idle_host_accumulates_at_most_one_burst() -> None:
    plan = schedule({"a": 100}, per_host=4, rate=10.0, burst=4)
    for now, allowed in ((0.0, 4), (0.25, 2), (60.0, 4), (60.1, 1)):
        jobs = take_all(plan, now)
        assert len(jobs) == allowed
        settle(plan, jobs)


def test_each_host_has_its_own_rate() -> None:
    plan = schedule({"a": 9, "b": 9}, rate=1.0, burst=1)
    assert sorted(job.host.name for job in take_all(plan, 0.0)) == ["a", "b"]


def test_the_next_turn_of_a_host_without_tokens_is_known() -> None:
    plan = schedule({"a": 9}, rate=4.0, burst=1)
    take_all(plan, 0.0)
    assert plan.next_due == pytest.approx(0.25)


def test_a_retry_waits_for_its_time_and_counts_its_attempts() -> None:
    plan = schedule({"a": 1})
    (job,) = take_all(plan)
    plan.retry(job, "http_5xx", at=5.0, answered=True, pause_host=False)
    assert plan.next_due == 5.0
    assert take_all(plan, 4.9) == []
    (again,) = take_all(plan, 5.0)
    assert (again.url, again.attempts) == (job.url, 2)
    assert not plan.finished


def test_a_pause_delays_all_urls_of_its_host_and_no_others() -> None:
    plan = schedule({"a": 20, "b": 20})
    jobs = take_all(plan)
    first = next(job for job in jobs if job.host.name == "a")
    plan.retry(first, "http_429", at=30.0, answered=True, pause_host=True)
    settle(plan, [job for job in jobs if job is not first])
    assert {job.host.name for job in take_all(plan, 29.0)} == {"b"}
    assert {job.host.name for job in take_all(plan, 30.0)} == {"a"}


def test_abandoning_a_host_returns_its_queued_urls_and_retries() -> None:
    plan = schedule({"a": 10}, per_host=4)
    jobs = take_all(plan)
    plan.retry(jobs[0], "timeout", at=1.0, answered=False, pause_host=False)
    jobs[0:1] = take_all(plan, 0.5)
    assert plan.take(1.0) is None  # the retry is due and waits for a slot
    left = {waiting.url: (waiting.attempts, waiting.reason) for waiting in plan.abandon(jobs[0].host)}
    assert left == {0: (1, "timeout")} | dict.fromkeys(range(5, 10), (0, None))
    assert not plan.finished
    settle(plan, jobs, answered=False)
    assert plan.finished


def test_a_waiting_url_takes_four_bytes() -> None:
    plan = Schedule(concurrency=128, per_host=16)
    plan.add("a", 0)
    tracemalloc.start()
    for number in range(1, 100_000):
        plan.add("a", number)
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 6 * 100_000


def test_a_released_job_holds_no_slot_and_is_unfinished_until_it_is_settled() -> None:
    plan = schedule({"a": 3}, per_host=1)
    first = take_all(plan)[0]
    plan.release(first, answered=True)
    second = take_all(plan)[0]
    plan.done(second, answered=True)
    third = take_all(plan)[0]
    plan.done(third, answered=True)
    assert not plan.finished
    plan.done(first, answered=True)
    assert plan.finished
    assert plan.active == 0


def test_a_job_that_takes_its_slot_back_keeps_its_host_from_the_next_url() -> None:
    plan = schedule({"a": 3}, per_host=1)
    first = take_all(plan)[0]
    plan.release(first, answered=True)
    plan.reclaim(first)
    assert take_all(plan) == []
    plan.done(first, answered=True)
    assert len(take_all(plan)) == 1
