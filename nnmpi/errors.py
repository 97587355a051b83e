"""Errors that the user can fix. A command prints them as one line, without a traceback."""

from nnmpi.text import message as one_line


class CommandError(Exception):
    """A command cannot continue, for a reason that the user can fix.

    ``status`` is the exit status. ``shared`` means that every rank raises the same error at the same point, so that the
    job can end normally and need not be aborted. A message may quote a file, so it is converted to one printable line.
    """

    status = 1

    def __init__(self, message: str, shared: bool = False) -> None:
        super().__init__(one_line(message))
        self.shared = shared


class InputError(CommandError):
    """Input that cannot be used. The message says what was given, what is allowed and what to change."""

    status = 2


class RunError(CommandError):
    """A run failed for a reason that the user can fix: the loss became NaN, the disk is full."""
