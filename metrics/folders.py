"""Finding pairs of sources and the pictures that methods made of them, by name and never by position.

How a stem is found. The stems of a set are the file names, without ending, of the first source folder; the second
source has the same stem. A method's picture for ``stem`` is, in this order,

1. ``stem.<ending>``;
2. ``stem_recover``, ``stem_fused``, ``stem_fusion`` or ``stem_result`` (the first is what ``test.py`` writes);
3. ``stem_<method>``, ``stem-<method>`` or ``<method>_stem``, where the method is the folder's name, in any case.

Two pictures of one stem and different endings are an error: nothing says which one is meant.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from utils.errors import MissingFileError, UserError
from utils.pictures.codecs import is_picture

FUSED_SUFFIXES = ("recover", "fused", "fusion", "result")
RESULT_FOLDERS = ("test_images", "fused", "results")


@dataclass(frozen=True)
class SourcePair:
    """Where the two sources of one pair lie."""

    stem: str
    first: Path
    second: Path


@dataclass(frozen=True)
class SourceSet:
    """All pairs of a data set and, one line each, what could not be paired."""

    pairs: tuple[SourcePair, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Method:
    """A method's name, the folder of its results and what was found there.

    Attributes:
        pictures: stem -> file.
        missing: stems for which the folder has no picture.
    """

    name: str
    folder: Path
    pictures: dict[str, Path] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


def picture_files(folder: Path) -> dict[str, Path]:
    """Stem -> picture file of a folder, in the order of the names.

    Raises:
        MissingFileError: no such folder.
        UserError: a stem occurs with two endings.
    """
    if not folder.is_dir():
        raise MissingFileError(f"no such folder; {folder}; give a folder of pictures")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not is_picture(path):
            continue
        if path.stem in files:
            raise UserError(
                f"two pictures of one stem; {files[path.stem]} and {path.name}; keep the one to be scored")
        files[path.stem] = path
    return files


def find_sources(first: Path, second: Path) -> SourceSet:
    """Pair two folders by file stem.

    Raises:
        UserError: the folders have no stem in common.
    """
    a, b = picture_files(first), picture_files(second)
    pairs = tuple(SourcePair(stem, a[stem], b[stem]) for stem in a if stem in b)
    if not pairs:
        raise UserError(f"no picture has the same name in both folders; {first} and {second}; "
                        "pairs are matched by file name without its ending")
    problems = [f"{a[stem].name}: not in {second}" for stem in a if stem not in b]
    problems += [f"{b[stem].name}: not in {first}" for stem in b if stem not in a]
    return SourceSet(pairs, tuple(problems))


def find_scenes(folder: Path) -> SourceSet:
    """Pairs from ``folder/<scene>/`` with two pictures each, in the order of their names; the stem is the scene.

    Raises:
        MissingFileError: no such folder.
        UserError: no scene has exactly two pictures.
    """
    if not folder.is_dir():
        raise MissingFileError(f"no such folder; {folder}; give the folder that holds one folder a scene")
    pairs, problems = [], []
    for scene in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = list(picture_files(scene).values())
        if len(files) == 2:
            pairs.append(SourcePair(scene.name, *files))
        else:
            problems.append(f"{scene.name}: {len(files)} pictures where two are needed")
    if not pairs:
        raise UserError(f"no scene with two pictures; {folder}; --pairs wants FOLDER/<scene>/ with two pictures in "
                        "each, or use --a and --b for two folders")
    return SourceSet(tuple(pairs), tuple(problems))


def name_methods(arguments: Sequence[str | Path]) -> list[Method]:
    """Name methods after their folders; ``NAME=FOLDER`` names one outright.

    A folder called ``test_images`` (as ``test.py`` makes them), ``fused`` or ``results`` takes its parent's name.

    Raises:
        MissingFileError: a folder does not exist.
        UserError: two methods get the same name.
    """
    methods: list[Method] = []
    for argument in arguments:
        name, _, rest = str(argument).partition("=")
        folder = Path(rest) if rest and not Path(argument).is_dir() else Path(argument)
        if not folder.is_dir():
            raise MissingFileError(f"no such folder; {folder}; give a folder of fused pictures")
        full = folder.resolve()
        if folder == Path(argument):
            name = full.parent.name if full.name in RESULT_FOLDERS and full.parent.name else full.name
        if any(name == method.name for method in methods):
            raise UserError(f"two methods are called {name}; {folder}; name one yourself: OTHER={folder}")
        methods.append(Method(name, folder))
    return methods


def find_results(method: Method, stems: Sequence[str]) -> Method:
    """Look up the method's picture of every stem (rule at the top of this module)."""
    files = picture_files(method.folder)
    lower = {stem.lower(): path for stem, path in files.items()}
    found: dict[str, Path] = {}
    for stem in stems:
        tail = (f"{stem}_{method.name}", f"{stem}-{method.name}", f"{method.name}_{stem}")
        candidates = [files.get(stem), *(files.get(f"{stem}_{suffix}") for suffix in FUSED_SUFFIXES),
                      *(lower.get(name.lower()) for name in tail)]
        path = next((candidate for candidate in candidates if candidate is not None), None)
        if path is not None:
            found[stem] = path
    missing = tuple(stem for stem in stems if stem not in found)
    return Method(method.name, method.folder, found, missing)
