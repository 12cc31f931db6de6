"""Interprets names of files and folders: scene, last word, ground truth, order."""

import re
from pathlib import Path

_TRUTH = r"(?:gt|ground[-_ ]?truth|truth|ref|reference|all[-_ ]?in[-_ ]?focus|aif)"
_TRUTH_FIRST, _TRUTH_LAST = (re.compile(pattern, re.IGNORECASE) for pattern in (
    rf"^{_TRUTH}(?:[-_ ].*|\d*)$", rf"^(.*?)[-_ ]{_TRUTH}$"))


def is_truth(stem: str) -> bool:
    """Whether a name marks a ground truth: ``gt``, ``gt_01``, ``ground_truth``, ``lytro-01-ref``, ..."""
    return bool(_TRUTH_FIRST.match(stem) or _TRUTH_LAST.match(stem))


def split_stem(stem: str) -> tuple[str, str]:
    """Split a stem into scene and last word: ``street_ir`` into (street, ir), ``room_-2EV`` into (room, -2ev)."""
    truth = _TRUTH_LAST.match(stem)
    if truth and truth[1]:
        return truth[1], "truth"
    cut = max(stem.rfind("_"), stem.rfind("-"))
    scene = stem[:cut].rstrip("_-")
    if cut <= 0 or not scene:
        return stem, ""
    # The second of two separators is a sign.
    return scene, stem[cut + (len(scene) == cut):].lower()


def word_of(path: Path) -> str:
    """The part of a file's name that identifies its side: the last word, or the whole name."""
    return plain(split_stem(path.stem)[1] or path.stem)


def plain(name: str) -> str:
    """The letters and digits of a name in lower case: ``Over-exposed`` becomes ``overexposed``."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def natural_order(name: str) -> list[tuple[int, int | str]]:
    """Sort key that puts 2 before 10."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]
