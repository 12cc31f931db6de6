"""Finds, reads and saves the lists of files that a run trains on."""

from collections.abc import Iterable
from pathlib import Path

from utils.errors import UserError
from utils.files import atomic_write


def find_list(run_dir: str | Path | None, name: str, given: str | Path | None) -> Path | None:
    """The list to use: that of the run if it exists, else that of the option file; None if neither exists.

    Args:
        run_dir: folder of the run.
        name: file name of the list in ``run_dir``.
        given: path from the option file; need not exist.
    """
    kept = Path(run_dir) / name if run_dir else None
    named = Path(given) if given else None
    return next((file for file in (kept, named) if file and file.is_file()), None)


def read_list(path: Path) -> list[str]:
    """The lines of a list file, without blank lines and comments (``#``).

    Raises:
        UserError: the file has no lines or is not text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a list of files ({getattr(error, 'strerror', None) or 'no text'}); "
                        "give a text file with one path a line") from None
    if "\0" in text:
        raise UserError(f"{path} is not a list of files (not text); give a text file with one path a line")
    lines = (line.strip() for line in text.splitlines())
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise UserError(f"{path} lists no file; remove it to have a new list drawn")
    return names


def keep_list(run_dir: str | Path | None, name: str, lines: Iterable[str], rank: int = 0) -> None:
    """Save the list in the run's folder unless it exists; only the first process writes."""
    if run_dir is None or rank != 0 or (Path(run_dir) / name).is_file():
        return
    with atomic_write(Path(run_dir) / name) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
