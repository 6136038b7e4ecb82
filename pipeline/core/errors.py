"""Errors whose message a person reads: each says what happened, where, and what to do.

An error that only one module raises and handles stays in that module.
"""

from pipeline.core.quoting import printable_lines


class InputError(ValueError):
    """The input cannot be used. Control characters in the message are escaped."""

    def __init__(self, message: object = "", *more: object) -> None:
        super().__init__(printable_lines(message), *more)


class UnreachableError(InputError):
    """The input cannot be fetched now; the same call may succeed later."""


class DamagedFileError(InputError, OSError):
    """A file's bytes differ from those that were written; `python -m pipeline.check` says what to make again."""


class TableMissingError(InputError, FileNotFoundError):
    """A table was never made.

    It is also a FileNotFoundError, because Dagster recognises a missing optional partition by that.
    """
