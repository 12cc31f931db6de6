"""What the names of files and folders say: which scene, which word at the end, a ground truth, an order."""

import re
from pathlib import Path

_TRUTH = r"(?:gt|ground[-_ ]?truth|truth|ref|reference|all[-_ ]?in[-_ ]?focus|aif)"
_TRUTH_FIRST, _TRUTH_LAST = (re.compile(pattern, re.IGNORECASE) for pattern in (
    rf"^{_TRUTH}(?:[-_ ].*|\d*)$", rf"^(.*?)[-_ ]{_TRUTH}$"))


def is_truth(stem: str) -> bool:
    """Whether a file is a ground truth by its name: ``gt``, ``gt_01``, ``ground_truth``, ``lytro-01-ref``, ..."""
    return bool(_TRUTH_FIRST.match(stem) or _TRUTH_LAST.match(stem))


def split_stem(stem: str) -> tuple[str, str]:
    """A file's scene and word: ``street_ir`` is (``street``, ``ir``), ``room_-2EV`` is (``room``, ``-2ev``)."""
    truth = _TRUTH_LAST.match(stem)
    if truth and truth[1]:
        return truth[1], "truth"
    cut = max(stem.rfind("_"), stem.rfind("-"))
    scene = stem[:cut].rstrip("_-")
    if cut <= 0 or not scene:
        return stem, ""
    # After two separators the second one is a sign.
    return scene, stem[cut + (len(scene) == cut):].lower()


def word_of(path: Path) -> str:
    """What a file's name says of its side: the word at its end, or all of it."""
    return plain(split_stem(path.stem)[1] or path.stem)


def plain(name: str) -> str:
    """A name's letters and digits in lower case: ``Over-exposed`` is ``overexposed``."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def natural_order(name: str) -> list[tuple[int, int | str]]:
    """A key that sorts 2 before 10."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]
