"""Types of network failures: transient ones are retried, permanent ones are not.

Only steps that use the network need this. Everywhere else a failure is permanent: the same data and code would fail
again.
"""

from collections.abc import Generator
from contextlib import contextmanager

import dagster as dg

from pipeline.core.errors import InputError, UnreachableError

RETRIES = 2
WAIT = (
    60.0  # seconds before the first retry, twice that before the second; shorter failures are retried inside the step
)


class PermanentFailureError(dg.Failure, InputError):
    """A failure that a retry would not fix: Dagster does not retry it, and commands treat it as an InputError."""

    def __init__(self, error: Exception):
        super().__init__(str(error), metadata={"failure": "permanent"}, allow_retries=False)


@contextmanager
def network(context: dg.AssetExecutionContext) -> Generator[None]:
    """Convert the errors of a block that uses the network into retries and permanent failures.

    Raises:
        RetryRequested: the block raised UnreachableError, and there were fewer than RETRIES retries.
        UnreachableError: there were RETRIES retries.
        PermanentFailureError: any other InputError.
    """
    try:
        yield
    except UnreachableError as error:
        tried = context.retry_number
        if tried >= RETRIES:
            raise
        wait = WAIT * 2**tried
        context.log.warning(f"transient failure, retrying in {wait:.0f} s ({tried + 1} of {RETRIES}): {error}")
        raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=wait) from error
    except InputError as error:
        raise PermanentFailureError(error) from error
