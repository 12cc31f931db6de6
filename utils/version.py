"""Identifies the code that wrote a file: version and commit."""

import functools
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from option.schema import Options

VERSION = "0.2.0"


@functools.cache
def commit() -> str:
    """Short hash of the clone's commit, with ``+`` if tracked files have changed.

    An installed package stores the commit it was built from. ``unknown`` if there is neither.
    """
    root = Path(__file__).resolve().parent.parent
    if (built := root / "COMMIT").is_file():
        return built.read_text(encoding="utf-8") or "unknown"
    if not (root / ".git").exists():
        return "unknown"  # git would answer for an unrelated repository that contains this folder

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True,
                              timeout=10).stdout.strip()

    try:
        head = git("rev-parse", "--short", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head + ("+" if changed else "")


def provenance_of(options: "Options", *, model: str, weights: str | None, device: str) -> dict[str, str | None]:
    """The origin of a run's numbers, to be saved with them.

    Args:
        options: options of the run.
        model: name of the model's class.
        weights: checksum of the weight file; None for a model without weights.
        device: where the model ran.
    """
    from option.load import options_hash  # imported here, so that the version is available without pydantic

    return {"version": VERSION, "commit": commit(), "model": model, "weights": weights,
            "options": options_hash(options), "color": options.color or "by task", "device": device}
