"""Errors that the user can fix, as opposed to bugs."""


class UserError(ValueError):
    """A mistake that the user can fix.

    The message is one line: what is wrong; where; what to do. The scripts print it without a traceback and exit
    with 2.
    """


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder given by the user does not exist."""

    def __str__(self) -> str:
        # FileNotFoundError would otherwise format its arguments as (errno, text).
        return str(self.args[0]) if self.args else ""
