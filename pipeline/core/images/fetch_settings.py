"""How pictures are fetched: the knobs and their bounds.

Values only: what a knob does is said here, done in `fetch.py`, `schedule.py` and `transfer.py`.
"""

from dataclasses import dataclass

from pipeline.core.images.pictures import MAX_PIXELS, MIN_SIDE


@dataclass(frozen=True)
class FetchSettings:
    """How pictures are fetched. Times in seconds; raises ValueError naming the field."""

    concurrency: int = 128  # requests under way
    per_host: int = 16  # of them to one host
    rate_per_host: float = 0.0  # requests a second to one host, redirects to it apart; 0: no limit
    burst_per_host: int = 4  # requests that a host which was left in peace may get at once, under a rate
    connect_timeout: float = 10.0  # name, TCP and TLS
    read_timeout: float = 15.0  # silence: from the request to the answer's headers, then between two reads
    total_timeout: float = 60.0  # one attempt with its redirects
    retries: int = 3  # after the first attempt, transient failures only
    backoff: float = 0.5  # before the first retry; doubles, with jitter
    backoff_cap: float = 30.0  # the longest such wait
    retry_after_cap: float = 60.0  # a longer Retry-After is shortened to this
    host_failures: int = 20  # unanswered in a row: the host's other URLs wait for the next run; 0: never
    max_redirects: int = 5  # followed for one picture, each checked as the first address
    max_bytes: int = 10_000_000  # a larger answer is cut off and refused
    max_pixels: int = MAX_PIXELS  # width times height; above it is a bomb, not a picture
    min_side: int = MIN_SIDE  # pixels; below it stands a placeholder
    respect_robots: bool = True  # X-Robots-Tag noai, noimageai
    user_agent: str = "Atelier/0.1 (fashion recommendation research)"  # how the fetcher names itself to the hosts
    allow_hosts: frozenset[str] = frozenset()  # `host:port` that may be private (ATELIER_ALLOW_HOSTS)
    flush_every: int = 2000  # ledger rows that a kill may cost, with the requests under way; half are written at once
    flush_bytes: int = 64_000_000  # picture bytes, likewise
    flush_seconds: float = 30.0  # likewise

    def __post_init__(self) -> None:
        for name in (
            "concurrency",
            "per_host",
            "burst_per_host",
            "max_bytes",
            "max_pixels",
            "min_side",
            "flush_every",
            "flush_bytes",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("connect_timeout", "read_timeout", "total_timeout", "flush_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0 seconds")
        for name in (
            "retries",
            "backoff",
            "backoff_cap",
            "retry_after_cap",
            "host_failures",
            "max_redirects",
            "rate_per_host",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        if self.max_bytes >= 2**31:
            raise ValueError(f"max_bytes is {self.max_bytes}; the ledger counts bytes in 31 bits")
        if not self.user_agent.strip() or not self.user_agent.isprintable():
            raise ValueError("user_agent is empty or has control characters; say who is asking")
        for host in self.allow_hosts:
            if not host.rpartition(":")[0] or not host.rpartition(":")[2].isdigit():
                raise ValueError(f"allow_hosts has {host!r}; write host:port, for example 127.0.0.1:8877")
