"""Finds the pairs of sources and the results of methods, by name and never by position.

Sources are found in the same layouts as for fusing (``utils/pictures/layouts.py``). The picture of a method for
``stem`` is, in this order,

1. ``stem.<ending>``;
2. ``stem_recover``, ``stem_fused``, ``stem_fusion`` or ``stem_result`` (the first is what ``test.py`` writes);
3. ``stem_<method>``, ``stem-<method>`` or ``<method>_stem``, where the method is the folder's name, in any case.

If two files differ only in their suffix, neither is used.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from utils.errors import MissingFileError, UserError
from utils.pictures.codecs import list_pictures
from utils.pictures.depth import to_8_bit
from utils.pictures.layouts import Finding, PairPaths, Task, pair_folders, pair_scenes
from utils.pictures.names import is_truth, split_stem
from utils.pictures.pairs import PairList, listed, read_pictures
from utils.pictures.reading import ReadingRule

FUSED_SUFFIXES = ("recover", "fused", "fusion", "result")
RESULT_FOLDERS = ("test_images", "fused", "results")
RUN_PICTURES, RUN_INPUTS = "test_images", ("_over", "_under", "_input3")  # what test.py writes


@dataclass(frozen=True)
class Method:
    """A method: its name, the folder of its results and the pictures found there.

    Attributes:
        pictures: stem -> file.
        missing: stems for which the folder has no picture.
        problems: one line for each stem with two pictures.
    """

    name: str
    folder: Path
    pictures: dict[str, Path] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def read_sources(pair: PairPaths, rule: ReadingRule, layout: Task | None) -> list[np.ndarray]:
    """Read the two sources of a pair as for fusing, (H, W) or (H, W, 3) ``uint8``, of any sizes.

    Raises:
        UserError: a file cannot be decoded.
    """
    pictures = [to_8_bit(one.pixels) for one in read_pictures((pair.first, pair.second), rule, layout)]
    return [pixels[..., 0] if pixels.shape[2] == 1 else pixels for pixels in pictures]


def find_sources(first: Path, second: Path, layout: Task | None = None) -> PairList:
    """Pair two folders by file stem.

    Args:
        first, second: the folders.
        layout: task, used by :class:`utils.pictures.reading.ReadingRule`.

    Raises:
        MissingFileError: no such folder.
        UserError: the folders have no stem in common.
    """
    found = Finding(check=False)
    pair_folders(first, second, found)
    return listed(found, layout, f"{first} and {second}")


def find_scenes(folder: Path, layout: Task | None = None) -> PairList:
    """Find the pairs below one folder.

    Args:
        folder: contains one folder per scene, two folders of sides, or flat files ``<scene>_<word>``; or a run folder
            of ``test.py`` with inputs (``save.inputs``).
        layout: selects two pictures of a scene like ``dataset.test.datashell``; None accepts scenes of two, ordered by
            name.

    Raises:
        MissingFileError: no such folder.
        UserError: no pair is found.
    """
    found = Finding(check=False)
    if (folder / RUN_PICTURES).is_dir():
        found.pairs.extend(_run_inputs(folder / RUN_PICTURES))
        if not found.pairs:
            raise UserError(f"{folder}: this run kept no inputs (save.inputs); give the folders of the data set")
    else:
        pair_scenes(folder, layout, found)
    return listed(found, layout, str(folder))


def _run_inputs(folder: Path) -> list[PairPaths]:
    """The pairs; not stacks, which have more inputs."""
    files = {file.stem: file for file in list_pictures(folder)}
    first, second, third = RUN_INPUTS
    stems = [name.removesuffix(first) for name in files if name.endswith(first)]
    return [PairPaths(stem, files[stem + first], files[stem + second]) for stem in stems
            if stem + second in files and stem + third not in files]


def with_truths(sources: PairList, folder: Path) -> PairList:
    """Add ground truths from a folder to the pairs: ``<stem>`` or ``<stem>_gt``, any suffix.

    Raises:
        MissingFileError: no such folder.
        UserError: it contains no ground truth of these pairs.
    """
    problems: list[str] = []
    files = _by_stem(folder, problems)
    files = {split_stem(stem)[0]: file for stem, file in files.items() if is_truth(stem)} | files
    pairs = [replace(pair, truth=files.get(pair.stem, pair.truth)) for pair in sources.pairs]
    lacking = [pair.stem for pair in pairs if pair.truth is None]
    if len(lacking) == len(pairs):
        raise UserError(f"no ground truth has the name of a pair; {folder}; it is found by the stem, e.g. "
                        f"{pairs[0].stem}.png or {pairs[0].stem}_gt.png")
    if lacking:
        problems.append(f"no ground truth for {', '.join(lacking)}; in {folder}")
    return replace(sources, pairs=pairs, problems=[*sources.problems, *problems])


def _by_stem(folder: Path, problems: list[str]) -> dict[str, Path]:
    """Map each stem to its only picture."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for file in list_pictures(folder):
        groups[file.stem].append(file)
    problems.extend(f"two pictures of one stem, neither is taken; {' and '.join(map(str, files))}"
                    for files in groups.values() if len(files) > 1)
    return {stem: files[0] for stem, files in groups.items() if len(files) == 1}


def name_methods(arguments: Sequence[str | Path]) -> list[Method]:
    """Name methods after their folders; ``NAME=FOLDER`` sets the name.

    A folder called ``test_images`` (from ``test.py``), ``fused`` or ``results`` is named after its parent. For a run
    folder, ``test_images`` is used.

    Raises:
        MissingFileError: a folder does not exist.
        UserError: two methods have the same name.
    """
    methods: list[Method] = []
    for argument in arguments:
        name, _, rest = str(argument).partition("=")
        named = bool(rest) and not Path(argument).is_dir()
        given = Path(rest) if named else Path(argument)
        if not given.is_dir():
            raise MissingFileError(f"no such folder; {given}; give a folder of fused pictures")
        folder = given / RUN_PICTURES if (given / RUN_PICTURES).is_dir() else given
        if not named:
            full = folder.resolve()
            name = full.parent.name if full.name in RESULT_FOLDERS and full.parent.name else full.name
        if any(name == method.name for method in methods):
            raise UserError(f"two methods are called {name}; {given}; name one yourself: OTHER={given}")
        methods.append(Method(name, folder))
    return methods


def find_results(method: Method, stems: Sequence[str]) -> Method:
    """Look up the method's picture of every stem (rule at the top of this module)."""
    problems: list[str] = []
    files = _by_stem(method.folder, problems)
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
    return Method(method.name, method.folder, found, missing, tuple(problems))
