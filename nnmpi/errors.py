"""The ways in which a command ends that are not a bug: one line for the user, no traceback."""

from nnmpi.text import message as one_line


class CommandError(Exception):
    """A command cannot go on for a reason that its user can mend.

    ``status`` is the exit status. ``shared`` says that every rank raises the same error at the same place,
    so that the job may end in good order instead of being torn down. A message may quote what a file holds: it is made
    one line, fit for a terminal.
    """

    status = 1

    def __init__(self, message: str, shared: bool = False) -> None:
        super().__init__(one_line(message))
        self.shared = shared


class InputError(CommandError):
    """What the user gave cannot be used; the message says what was given, what is allowed and what to change."""

    status = 2


class RunError(CommandError):
    """A run failed in a way that its user can mend: the loss became NaN, the disk is full."""
