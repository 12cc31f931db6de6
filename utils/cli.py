"""The border between a script and the shell: a user's mistake is one line and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from option.errors import OptionError
from utils.errors import UserError

USER_MISTAKE = 2
INTERRUPTED = 130


def run(main: Callable[[list[str]], int | None]) -> NoReturn:
    """Run a script's main function on the command line and exit with its code.

    Args:
        main: takes the arguments without the program's name; returns the exit code (None is 0).

    A user's mistake prints ``error: ...`` and exits with 2, Ctrl-C exits with 130, a bug keeps its traceback.
    """
    try:
        code = main(sys.argv[1:])
    except (UserError, OptionError) as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"error: {line}\n")
        sys.exit(USER_MISTAKE)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(INTERRUPTED)
    sys.exit(code or 0)
