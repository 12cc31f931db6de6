"""The lists that say which files a run trains on: read, found and kept with the run."""

from collections.abc import Iterable
from pathlib import Path

from utils.errors import UserError
from utils.files import atomic_write


def find_list(run_dir: str | Path | None, name: str, given: str | Path | None) -> Path | None:
    """The list to use: the run's own if it has one, then the one that the option file names; None if neither is.

    Args:
        run_dir: the run's folder.
        name: the list's name in it.
        given: from the option file; it need not exist.
    """
    kept = Path(run_dir) / name if run_dir else None
    named = Path(given) if given else None
    return next((file for file in (kept, named) if file and file.is_file()), None)


def read_list(path: Path) -> list[str]:
    """The lines of a list file without blank ones and comments (``#``).

    Raises:
        UserError: it has none, or is no text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a list of files ({getattr(error, 'strerror', None) or 'no text'}); "
                        "give a text file with one path a line") from None
    if "\0" in text:
        raise UserError(f"{path} is no list of files (not text); give a text file with one path a line")
    lines = (line.strip() for line in text.splitlines())
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise UserError(f"{path} lists no file; remove it to have a new list drawn")
    return names


def keep_list(run_dir: str | Path | None, name: str, lines: Iterable[str], rank: int = 0) -> None:
    """Writes the list into the run's folder, unless it is there; only the first process writes."""
    if run_dir is None or rank != 0 or (Path(run_dir) / name).is_file():
        return
    with atomic_write(Path(run_dir) / name) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
