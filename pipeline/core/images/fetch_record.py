"""Record the outcomes of a fetch in the store, decide when to flush them, and report progress."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.core.images.decoder import Validated
from pipeline.core.images.ledger import LedgerRow, PictureStore
from pipeline.core.images.transfer import Attempt, FetchSettings

PROGRESS_EVERY = 0.5  # seconds


@dataclass(frozen=True)
class FetchProgress:
    """Progress of a fetch."""

    done: int
    total: int
    ok: int
    broken: int
    rate: float  # URLs settled per second since the start
    bytes: int  # of good pictures


class FetchRecord:
    """The outcomes of one fetch. `attempts_before` has the attempts of earlier fetches, by URL."""

    def __init__(
        self,
        total: int,
        store: PictureStore,
        settings: FetchSettings,
        on_progress: Callable[[FetchProgress], None] | None,
        attempts_before: Mapping[str, int],
    ) -> None:
        self.reasons: Counter[str] = Counter()
        self.bytes = 0  # of good pictures
        self.started = self.flushed = time.monotonic()
        self._reported = self.started
        self._total = total
        self._store = store
        self._settings = settings
        self._on_progress = on_progress
        self._attempts_before = attempts_before

    def settle(self, url: str, attempt: Attempt, attempts: int, picture: Validated | None = None) -> None:
        """Add a URL's row to the ledger, with its picture if it has one."""
        self.reasons[attempt.reason] += 1
        sha256, header = picture or (None, None)
        size = None if attempt.data is None else len(attempt.data)
        self.bytes += size or 0
        row = LedgerRow(
            url=url,
            reason=attempt.reason,
            attempts=attempts + self._attempts_before.get(url, 0),
            fetched_at=datetime.now(UTC),
            http_status=attempt.http_status,
            sha256=sha256,
            format=header.format if header else attempt.format,
            width=header.width if header else None,
            height=header.height if header else None,
            bytes=size,
            etag=attempt.etag,
        )
        self._store.add(row, attempt.data)

    @property
    def flush_due(self) -> bool:
        """Whether half of what a kill may lose is unwritten; the other half may arrive during the flush."""
        rows, size = self._store.unflushed
        late = rows > 0 and time.monotonic() - self.flushed >= self._settings.flush_seconds / 2
        return 2 * rows >= self._settings.flush_every or 2 * size >= self._settings.flush_bytes or late

    def flush(self) -> None:
        """Write what was added; may run in a thread."""
        self.flushed = time.monotonic()
        self._store.flush()

    def report(self, last: bool = False) -> None:
        """Report progress to the caller of the fetch, at most every half second."""
        now = time.monotonic()
        if self._on_progress is None or (not last and now - self._reported < PROGRESS_EVERY):
            return
        self._reported = now
        done, ok = self.reasons.total(), self.reasons["ok"]
        rate = done / max(now - self.started, 1e-9)
        self._on_progress(FetchProgress(done, self._total, ok, done - ok, rate, self.bytes))
