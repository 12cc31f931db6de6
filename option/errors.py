"""The error raised for faulty options, and the search for the name that was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OptionError(Exception):
    """A mistake in an option file or on the command line that the user can fix.

    Args:
        problems: one line each, ``file: key.path: what is wrong (what to do)``.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


def likeness(name: str, other: str) -> float:
    """Similarity of two names, ignoring case: 1 if they are equal, 0 if they share no character."""
    return difflib.SequenceMatcher(None, name.lower(), other.lower()).ratio()


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names that ``name`` probably stands for, best match first.

    Only names almost as close as the best match are kept, so that a simple typo yields one suggestion.
    """
    scored = sorted(((likeness(name, other), other) for other in known), key=lambda pair: (-pair[0], pair[1]))
    if not scored or scored[0][0] < 0.6:
        return []
    return [other for score, other in scored[:count] if score >= max(0.6, scored[0][0] - 0.05)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A bracketed hint for the end of a message: the closest known names, or all of them if none is close."""
    known = sorted(known)
    near = nearest(name, known)
    if near:
        return f"(did you mean {' or '.join(near)}?)"
    return f"(known here: {', '.join(known)})" if known else "(none is taken here)"
