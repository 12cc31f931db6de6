"""Errors that are a user's to mend, told apart from bugs."""


class UserError(ValueError):
    """A mistake that the user can mend.

    The message is one line: what is wrong; where; what to do. The scripts print it and exit with 2; it never
    shows a traceback.
    """


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that the user named and that is not there."""

    def __str__(self) -> str:
        # FileNotFoundError would otherwise format its arguments as (errno, text).
        return str(self.args[0]) if self.args else ""
