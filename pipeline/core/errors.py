"""Errors whose message a person reads: each says what happened, where, and what to do.

An error that only one module raises and handles stays in that module.
"""

from pipeline.core.quoting import printable_lines


class InputError(ValueError):
    """The input cannot be used. Control characters in whatever the message quotes are printed escaped."""

    def __init__(self, message: object = "", *more: object) -> None:
        super().__init__(printable_lines(message), *more)


class UnreachableError(InputError):
    """The input could not be had now; the same call may succeed later."""


class DamagedFileError(InputError, OSError):
    """A file's bytes differ from those that were written; `python -m pipeline.check` says what to make again."""


class TableMissingError(InputError, FileNotFoundError):
    """A table was never made.

    It is also a FileNotFoundError, by which Dagster recognises a missing partition that an asset can do without.
    """
