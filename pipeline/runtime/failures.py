"""Failures of the network, typed: what may pass is tried again, what will not is not.

Only steps that ask other machines use this. Everywhere else a failure is permanent: the same data and code fail again,
and a retry only costs.
"""

from collections.abc import Generator
from contextlib import contextmanager

import dagster as dg

from pipeline.core.errors import InputError, UnreachableError

RETRIES = 2
WAIT = 60.0  # seconds before the first retry, twice that before the second; what passes sooner was retried inside


class PermanentFailureError(dg.Failure, InputError):
    """Asking again would not help: Dagster retries nothing, and a command reads it as any other bad input."""

    def __init__(self, error: Exception):
        super().__init__(str(error), metadata={"failure": "permanent"}, allow_retries=False)


@contextmanager
def network(context: dg.AssetExecutionContext) -> Generator[None]:
    """What happens inside asks other machines.

    Raises:
        RetryRequested: it may go better later (UnreachableError), and has been tried less than RETRIES times again.
        UnreachableError: it has.
        PermanentFailureError: any other InputError.
    """
    try:
        yield
    except UnreachableError as error:
        tried = context.retry_number
        if tried >= RETRIES:
            raise
        wait = WAIT * 2**tried
        context.log.warning(f"transient failure, tried again in {wait:.0f} s ({tried + 1} of {RETRIES}): {error}")
        raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=wait) from error
    except InputError as error:
        raise PermanentFailureError(error) from error
