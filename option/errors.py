"""The one error of this room, and how it finds the name that was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OptionError(Exception):
    """A mistake in an option file or on the command line that the user can mend.

    Args:
        problems: one line each, ``file: key.path: what is wrong (what to do)``.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


def likeness(name: str, other: str) -> float:
    """How alike two names are whatever their case: 1 for equal ones, 0 for those that share nothing."""
    return difflib.SequenceMatcher(None, name.lower(), other.lower()).ratio()


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names that ``name`` was probably meant to be, best first.

    A name is kept when it is nearly as near as the best one, so that one slip of the finger gives one answer.
    """
    scored = sorted(((likeness(name, other), other) for other in known), key=lambda pair: (-pair[0], pair[1]))
    if not scored or scored[0][0] < 0.6:
        return []
    return [other for score, other in scored[:count] if score >= max(0.6, scored[0][0] - 0.05)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A closing bracket for a message: the nearest known names, or all of them when none is near."""
    known = sorted(known)
    near = nearest(name, known)
    if near:
        return f"(did you mean {' or '.join(near)}?)"
    return f"(known here: {', '.join(known)})" if known else "(none is taken here)"
