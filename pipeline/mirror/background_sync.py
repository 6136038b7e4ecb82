"""Synchronise the home with its store before a run, every minute during the run, and after it.

A store that fails for a while does not stop the run: the home is whole, and the next minute's push tries again. Only
the last push retries until it succeeds or its timeout ends.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

from pipeline.core.errors import InputError
from pipeline.home import environment
from pipeline.mirror.store import ChangedFileError, Store
from pipeline.mirror.sync import SyncResult, pull, push

INTERVAL = 60.0  # seconds between two pushes: a lost machine loses at most this much finished work
LAST_PUSH_TIMEOUT = 600.0  # seconds that the last push retries a failing store
Say = Callable[[str], object]


@contextlib.contextmanager
def synchronised(
    home: Path, say: Say, interval: float = INTERVAL, timeout: float = LAST_PUSH_TIMEOUT
) -> Generator[None]:
    """Pull from the store before the block, then push every `interval` seconds during the block and once at its end.

    Does nothing if ATELIER_STORE is not set.

    Raises:
        InputError: before the block, the home and the store differ in ways that need a decision.
        OSError: after the block, the store failed for longer than `timeout` seconds.
    """
    address = environment.store()
    if not address:
        yield
        return
    store = Store(address)
    if copied := pull(home, store):
        say(f"copied from {store.address}: {copied}")
    pusher = _Pusher(home, store, say, interval)
    pusher.start()
    try:
        yield
    except BaseException:
        timeout = 0.0  # report the error now rather than after retries
        raise
    finally:
        pusher.stop()
        if copied := _push_with_retries(home, store, say, timeout):
            say(f"copied to {store.address}: {copied}")


class _Pusher(threading.Thread):
    """Pushes every `interval` seconds until it is stopped. Consecutive failures are reported once."""

    def __init__(self, home: Path, store: Store, say: Say, interval: float) -> None:
        super().__init__(name="store", daemon=True)
        self.home, self.store, self.say, self.interval = home, store, say, interval
        self._stopped = threading.Event()
        self._failure = ""

    def run(self) -> None:
        """Push until `stop` is called."""
        while not self._stopped.wait(self.interval):
            try:
                push(self.home, self.store)
                failure = ""
            except (ChangedFileError, BlockingIOError):
                continue
            except Exception as error:  # a failing copy must not end the run
                failure = f"{self.store.address} is behind: {error}"
            if failure and not self._failure:
                self.say(failure)
            self._failure = failure

    def stop(self) -> None:
        """Wait for a running push, and start no other."""
        self._stopped.set()
        self.join()


def _push_with_retries(home: Path, store: Store, say: Say, timeout: float) -> SyncResult | None:
    """Push, and retry with growing pauses until it succeeds or `timeout` seconds have passed."""
    deadline, pause = time.monotonic() + timeout, 1.0
    while True:
        try:
            return push(home, store)
        except InputError:
            raise
        except (ChangedFileError, OSError) as error:
            if time.monotonic() + pause > deadline:
                raise OSError(
                    f"{store.address} could not be brought up to date: {error}. The home is whole; when the store "
                    "answers again, run python -m pipeline.mirror push."
                ) from error
            say(f"{store.address}: {error}; retrying in {pause:.0f} s")
            time.sleep(pause)
            pause = min(2 * pause, 60.0)
