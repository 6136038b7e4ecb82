"""When the home's copy is brought in step: before a run, every minute while one lasts, and after it.

What is copied is `sync.py`'s. A store that refuses for a while costs nothing: the home is whole, and the next minute
tries again; only at the end is it waited for.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

from pipeline.core.errors import InputError
from pipeline.home import environment
from pipeline.mirror.store import ChangedFileError, Store
from pipeline.mirror.sync import Moved, pull, push

EVERY = 60.0  # seconds between two pushes: what a lost machine costs at most, beside what was under way
PATIENCE = 600.0  # seconds that the last push waits for a store that refuses
Say = Callable[[str], object]


@contextlib.contextmanager
def in_step(home: Path, say: Say, every: float = EVERY, patience: float = PATIENCE) -> Generator[None]:
    """Take the store's copy over before the block, and bring it in step while the block runs and when it ends.

    Does nothing where ATELIER_STORE is not set.

    Raises:
        InputError: the home cannot be brought in step; before the block.
        OSError: the store refused for longer than `patience`; after it.
    """
    address = environment.store()
    if not address:
        yield
        return
    store = Store(address)
    if moved := pull(home, store):
        say(f"taken over from {store.address}: {moved}")
    courier = _Courier(home, store, say, every)
    courier.start()
    try:
        yield
    except BaseException:
        patience = 0.0  # what went wrong is to be heard of now
        raise
    finally:
        courier.stop()
        if moved := _patiently(home, store, say, patience):
            say(f"copied to {store.address}: {moved}")


class _Courier(threading.Thread):
    """Pushes again and again until it is stopped; tells of trouble once until it is over."""

    def __init__(self, home: Path, store: Store, say: Say, every: float) -> None:
        super().__init__(name="store", daemon=True)
        self.home, self.store, self.say, self.every = home, store, say, every
        self._ended = threading.Event()
        self._trouble = ""

    def run(self) -> None:
        """The thread's work."""
        while not self._ended.wait(self.every):
            try:
                push(self.home, self.store)
                trouble = ""
            except (ChangedFileError, BlockingIOError):
                continue
            except Exception as error:  # the edge of the thread: the run does not end for its copy
                trouble = f"{self.store.address} is behind: {error}"
            if trouble and not self._trouble:
                self.say(trouble)
            self._trouble = trouble

    def stop(self) -> None:
        """Let a push that is under way end, and no other begin."""
        self._ended.set()
        self.join()


def _patiently(home: Path, store: Store, say: Say, patience: float) -> Moved | None:
    """The last push: tried again, ever more slowly, until it is through or patience ends."""
    until, pause = time.monotonic() + patience, 1.0
    while True:
        try:
            return push(home, store)
        except InputError:
            raise
        except (ChangedFileError, OSError) as error:
            if time.monotonic() + pause > until:
                raise OSError(
                    f"{store.address} could not be brought in step: {error}. The home is whole; when the store answers "
                    "again, run python -m pipeline.mirror push."
                ) from error
            say(f"{store.address}: {error}; again in {pause:.0f} s")
            time.sleep(pause)
            pause = min(2 * pause, 60.0)
