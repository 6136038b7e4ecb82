"""Show the plan of a fetch: as a table on the terminal, as Markdown in Dagster's UI, and as one line in the log."""

from collections.abc import Iterator

from rich.table import Table

from pipeline.core.images.fetch_plan import (
    ASSUMED,
    ASSUMED_BYTES,
    ASSUMED_FILES,
    ASSUMED_SECONDS,
    FILES,
    HERE,
    FetchPlan,
    HostPlan,
)

HOSTS = 8  # hosts shown one by one; the others share a row
COLUMNS = ("host", "URLs", "there", "requests", "MB", "a second", "time")


def line(plan: FetchPlan) -> str:
    """Describe the plan in one sentence, naming its assumptions."""
    if not plan.requests:
        return f"no request to make: all {plan.urls:,} pictures are settled in the ledger"
    hosts = sum(1 for host in plan.hosts if host.requests and host.host != FILES)
    size, time = f"about {plan.bytes / 1e6:,.1f} MB", f"about {duration(plan.seconds)}"
    assumed = []
    if plan.bytes_from == ASSUMED:
        assumed.append(f"{ASSUMED_BYTES / 1000:.0f} kB a picture")
    if plan.seconds_from == ASSUMED:
        assumed.append(f"{ASSUMED_SECONDS:g} s an answer" if hosts else f"{ASSUMED_FILES:,} files a second")
    note = f" (no history yet: {' and '.join(assumed)} assumed)" if assumed else ""
    files = sum(host.requests for host in plan.hosts if host.host == FILES)
    requests = plan.requests - files
    asked = (
        f"{requests:,} {'request' if requests == 1 else 'requests'} to {hosts:,} {'host' if hosts == 1 else 'hosts'}"
    )
    read = f"{files:,} file{'' if files == 1 else 's'} to read on this machine" if files else ""
    return f"{' and '.join(filter(None, (read, asked if hosts else '')))}, {size}, {time}{note}; " + (
        f"{plan.there:,} of {plan.urls:,} are settled already"
    )


def terminal_table(plan: FetchPlan) -> Table:
    """Make the table of hosts for a rich console."""
    table = Table(title="pictures to fetch: " + line(plan), title_justify="left", title_style="")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "host" else "right")
    for row in _rows(plan):
        table.add_row(*row)
    return table


def markdown(plan: FetchPlan) -> str:
    """Make the table of hosts as Markdown for Dagster's UI."""
    head = f"| {' | '.join(COLUMNS)} |\n|---|" + "---:|" * (len(COLUMNS) - 1)
    return f"{line(plan)}\n\n{head}\n" + "\n".join(f"| {' | '.join(row)} |" for row in _rows(plan))


def _rows(plan: FetchPlan) -> Iterator[tuple[str, ...]]:
    first, others = plan.top(HOSTS)
    for host in [*first, others] if others else first:
        yield host.host, f"{host.urls:,}", f"{host.there:,}", f"{host.requests:,}", *_expected(host)


def _expected(host: HostPlan) -> tuple[str, str, str]:
    """Format bytes, rate and time; a number that was not measured on this host names its source."""
    if not host.requests:
        return "", "", ""
    size = f"{host.bytes / 1e6:,.1f}{'' if host.bytes_from == HERE else f' ({host.bytes_from})'}"
    rate = f"{host.rate:,.0f}" if host.rate >= 10 else f"{host.rate:.1f}"
    return size, rate if host.rate_from == HERE else f"{rate} ({host.rate_from})", duration(host.seconds)


def duration(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
