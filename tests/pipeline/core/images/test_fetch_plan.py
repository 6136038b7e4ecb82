"""Plan a fetch: the requests to each host, and the source of each estimate."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.core.images.fetch import pending
from pipeline.core.images.fetch_plan import (
    ASSUMED,
    ASSUMED_BYTES,
    ASSUMED_SECONDS,
    ELSEWHERE,
    HERE,
    LIMIT,
    NO_HOST,
    FetchPlan,
    HostPlan,
    histories,
    plan_fetch,
)
from pipeline.core.images.ledger import LedgerRow, PictureStore
from pipeline.core.images.transfer import FetchSettings
from pipeline.views import fetch_table

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "store")


def fetched(store: PictureStore, host: str, count: int, size: int, a_second: float, at: datetime = START) -> list[str]:
    """List `count` good pictures of `size` bytes from a host, evenly over time."""
    urls = [f"https://{host}/{number}.jpg" for number in range(count)]
    for number, url in enumerate(urls):
        row = LedgerRow(
            url, "ok", 1, at + timedelta(seconds=number / a_second), 200, f"{host}{number}", "JPEG", 9, 9, size
        )
        store.add(row, b"x" * size)
    store.flush()
    return urls


def settled(store: PictureStore, url: str, reason: str, attempts: int = 1) -> None:
    store.add(LedgerRow(url, reason, attempts, START))
    store.flush()


def new(host: str, count: int) -> list[str]:
    return [f"https://{host}/new{number}.jpg" for number in range(count)]


def host_of(plan: FetchPlan, host: str) -> HostPlan:
    return next(found for found in plan.hosts if found.host == host)


def test_requests_are_the_pending_urls_by_host_each_once(store: PictureStore):
    there = fetched(store, "a.org", 3, 10, 1.0)
    settled(store, "https://b.org/hung.jpg", "timeout", 4)
    settled(store, "https://b.org/gone.jpg", "http_404")
    urls = [*there, "https://b.org/hung.jpg", "https://b.org/gone.jpg", *new("b.org", 2), *new("b.org", 2), "ftp://x/y"]
    settled(store, "ftp://x/y", "bad_url", 0)
    settings = FetchSettings()
    plan = plan_fetch(urls, store, settings)
    counted = {host.host: (host.urls, host.there, host.requests) for host in plan.hosts}
    assert counted == {"b.org:443": (4, 1, 3), "a.org:443": (3, 3, 0), NO_HOST: (1, 1, 0)}
    assert plan.requests == len(pending(urls, store.ledger(), store, settings))
    assert (plan.urls, plan.there) == (8, 5)


def test_an_unusable_url_costs_nothing(store: PictureStore):
    plan = plan_fetch(["javascript:alert(1)", "https://user:word@a.org/1.jpg"], store, FetchSettings())
    assert (plan.requests, plan.bytes, plan.seconds) == (0, 0, 0.0)


def test_bytes_and_seconds_come_from_the_hosts_own_rows(store: PictureStore):
    fetched(store, "a.org", 41, 2000, 4.0)
    host = host_of(plan_fetch(new("a.org", 100), store, FetchSettings()), "a.org:443")
    assert (host.bytes, host.bytes_from) == (200_000, HERE)
    assert (host.rate, host.rate_from) == (pytest.approx(4.0), HERE)
    assert host.seconds == pytest.approx(25.0)


def test_broken_urls_of_the_past_lower_the_bytes_to_expect(store: PictureStore):
    fetched(store, "a.org", 3, 2000, 4.0)
    settled(store, "https://a.org/gone.jpg", "http_404")
    assert host_of(plan_fetch(new("a.org", 4), store, FetchSettings()), "a.org:443").bytes == 6000


def test_a_host_without_history_uses_the_mean_bytes_of_all_hosts_but_no_other_hosts_rate(store: PictureStore):
    fetched(store, "a.org", 41, 2000, 4.0)
    host = host_of(plan_fetch(new("b.org", 10), store, FetchSettings(per_host=16)), "b.org:443")
    assert (host.bytes, host.bytes_from) == (20_000, ELSEWHERE)
    assert (host.rate, host.rate_from) == (16 / ASSUMED_SECONDS, ASSUMED)


def test_without_any_history_the_assumptions_are_named(store: PictureStore):
    plan = plan_fetch(new("a.org", 10), store, FetchSettings())
    assert (plan.bytes, plan.bytes_from, plan.seconds_from) == (10 * ASSUMED_BYTES, ASSUMED, ASSUMED)
    assert "no history yet: 10 kB a picture and 0.2 s an answer assumed" in fetch_table.line(plan)


def test_few_rows_give_no_rate(store: PictureStore):
    fetched(store, "a.org", 5, 2000, 4.0)
    assert host_of(plan_fetch(new("a.org", 1), store, FetchSettings()), "a.org:443").rate_from == ASSUMED


def test_the_time_between_runs_does_not_lower_a_hosts_rate(store: PictureStore):
    fetched(store, "a.org", 30, 10, 5.0)
    for number in range(30):
        at = START + timedelta(hours=9, seconds=number / 5)
        store.add(LedgerRow(f"https://a.org/later{number}.jpg", "ok", 1, at, 200, f"l{number}", bytes=10), b"x" * 10)
    store.flush()
    by_host, overall = histories(store.ledger())
    assert by_host["a.org:443"].rate == pytest.approx(5.0)
    assert overall.urls == 60


def test_the_rate_limit_bounds_estimated_rates(store: PictureStore):
    fetched(store, "a.org", 41, 10, 50.0)
    plan = plan_fetch([*new("a.org", 20), *new("b.org", 40)], store, FetchSettings(rate_per_host=2.0))
    for name, seconds in (("a.org:443", 10.0), ("b.org:443", 20.0)):
        host = host_of(plan, name)
        assert (host.rate, host.rate_from, host.seconds) == (2.0, LIMIT, seconds)
    assert (plan.seconds, plan.seconds_from) == (20.0, LIMIT)  # in parallel


def test_many_hosts_share_the_concurrency(store: PictureStore):
    urls = [url for number in range(50) for url in new(f"h{number}.org", 32)]
    few, many = (plan_fetch(urls, store, FetchSettings(concurrency=count)) for count in (16, 10_000))
    assert few.seconds == pytest.approx(50 * 32 / (16 / ASSUMED_SECONDS))
    assert many.seconds == pytest.approx(32 / (16 / ASSUMED_SECONDS))


def test_hosts_with_most_requests_are_shown_and_the_others_together(store: PictureStore):
    plan = plan_fetch(
        [url for number in range(12) for url in new(f"h{number}.org", 1 + number)], store, FetchSettings()
    )
    first, others = plan.top(8)
    assert [host.requests for host in first] == [12, 11, 10, 9, 8, 7, 6, 5]
    assert others is not None and (others.host, others.requests) == ("4 other hosts", 10)
    shown = fetch_table.markdown(plan)
    assert "| h11.org:443 | 12 | 0 | 12 |" in shown and "| 4 other hosts | 10 | 0 | 10 |" in shown
    assert plan.top(12) == (list(plan.hosts), None)


def test_a_finished_fetch_is_planned_as_no_request(store: PictureStore):
    plan = plan_fetch(fetched(store, "a.org", 3, 10, 1.0), store, FetchSettings())
    assert (plan.requests, plan.seconds) == (0, 0.0)
    assert fetch_table.line(plan) == "no request to make: all 3 pictures are settled in the ledger"


def test_durations_are_readable():
    assert [fetch_table.duration(s) for s in (0.2, 45, 600, 9000)] == ["1 s", "45 s", "10 min", "2.5 h"]
