"""Reads results files: the scores of one method with the checksums of its pairs."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metrics.table import METRICS
from utils.errors import MissingFileError, UserError

Key = tuple[str, str]
"""The checksums of the two sources, which identify a pair."""

NAMES = ("metrics.json", "results_*.json")


@dataclass(frozen=True)
class Result:
    """One results file.

    Attributes:
        path: the file.
        method: name of the method.
        version: of the program that scored it, with its commit.
        colour: ``grey`` or ``channels``.
        definitions: metric -> its definition, such as ``SSIM@VIFB``.
        values: pair -> metric -> value; NaN if not defined.
        stems: pair -> its name.
        truths: pair -> checksum of its ground truth, if a metric used one.
    """

    path: Path
    method: str
    version: str
    colour: str
    definitions: dict[str, str]
    values: dict[Key, dict[str, float]]
    stems: dict[Key, str]
    truths: dict[Key, str]


def results_in(arguments: Sequence[str]) -> Iterator[tuple[str | None, Path]]:
    """Results files on a command line, with the name given to the method, if any.

    Args:
        arguments: ``FILE``, ``NAME=FILE`` or a folder with files of `NAMES`.
    """
    for argument in arguments:
        name, _, rest = argument.partition("=")
        named = bool(rest) and not Path(argument).exists()
        path = Path(rest if named else argument)
        found = [file for pattern in NAMES for file in sorted(path.glob(pattern))] if path.is_dir() else []
        yield from ((name if named else None, file) for file in found or [path])


def read_result(path: Path, name: str | None = None) -> Result:
    """Read a results file.

    Args:
        path: the file.
        name: of the method; by default the file's.

    Raises:
        MissingFileError: no such file.
        UserError: it is no results file, or not one that can be compared.
    """
    if path.is_dir():
        raise UserError(f"{path}: a folder without results files ({', '.join(NAMES)}); give the files")
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; give a results file, as python -m metrics --out writes")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if "methods" in content:
            raise UserError(f"{path}: holds several methods; give the results_<method>.json beside it")
        return _parse(path, name, content)
    except UserError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: no results file ({type(error).__name__}: {error}); give one that python -m metrics "
                        "--out or test.py wrote") from None


def _parse(path: Path, name: str | None, content: dict[str, Any]) -> Result:
    about, rows = content["provenance"], content["pairs"]
    definitions = {str(metric): str(key) for metric, key in about["definitions"].items()}
    if foreign := [metric for metric in definitions if metric not in METRICS]:
        raise UserError(f"{path}: {', '.join(foreign)} are metrics that this version does not know; score again")
    if not rows or not definitions:
        raise UserError(f"{path}: holds no scores; nothing to compare")
    values, stems, truths = {}, {}, {}
    for stem, row in rows.items():
        if not (checksums := row.get("checksums")):
            raise UserError(f"{path}: has no checksums of its pairs; written by version {about.get('version')}; score "
                            "the pictures again")
        first, second, *truth = map(str, checksums)
        values[first, second] = {metric: _number(row["scores"][metric]) for metric in definitions}
        stems[first, second] = stem
        truths |= {(first, second): truth[0]} if truth else {}
    method = name or str(about.get("method") or path.stem.removeprefix("results_"))
    version = f"{about['version']} ({about['commit']})" if "commit" in about else str(about["version"])
    return Result(path, method, version, str(content["colour"]), definitions, values, stems, truths)


def _number(value: float | str | None) -> float:
    """A score; null stands for NaN, and infinite ones are texts."""
    return float("nan" if value is None else value)
