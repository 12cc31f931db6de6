"""The scores of one method: values for each pair and metric, mean and standard deviation, and their files."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from utils.files import atomic_write, text_cell
from utils.pictures.reading import AS_STORED, ReadingRule

Provenance = Mapping[str, Any]


@dataclass(frozen=True)
class Scores:
    """The scores of one method on one data set.

    Attributes:
        names: the metrics, in the order of the columns.
        values: stem -> metric -> value; NaN if a metric is not defined for the pair.
        seconds: stem -> fusing time in seconds, if given.
        sizes: stem -> (width, height) in pixels.
        checksums: stem -> checksums of the two sources, and of the ground truth if a metric used it, as scored.
        problems: one line for each pair or value that could not be scored.
        colour: ``grey`` or ``channels``.
        rule: how the values of the sources were mapped on reading.
    """

    names: tuple[str, ...]
    values: dict[str, dict[str, float]]
    seconds: dict[str, float] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    checksums: dict[str, tuple[str, ...]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    colour: str = "grey"
    rule: ReadingRule = AS_STORED

    @property
    def stems(self) -> tuple[str, ...]:
        return tuple(self.values)

    def column(self, name: str) -> np.ndarray:
        """The values of one metric, (pairs,) float64, in the order of ``stems``."""
        return np.array([row[name] for row in self.values.values()], dtype=np.float64)

    def mean(self) -> dict[str, float]:
        """Mean over the pairs for which a metric is defined; infinite if a value is, NaN without values."""
        return {name: mean_of(self.column(name)) for name in self.names}

    def std(self) -> dict[str, float]:
        """Sample standard deviation (divisor n - 1) over the finite values; NaN for fewer than two."""
        return {name: _std(self.column(name)) for name in self.names}

    def mean_seconds(self) -> float:
        return mean_of(np.array(list(self.seconds.values())))

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON; NaN is null, infinity the text ``inf``."""
        return {
            "colour": self.colour,
            **told(self.rule),
            "metrics": list(self.names),
            "mean": _plain(self.mean()),
            "std": _plain(self.std()),
            "pairs": {stem: {"size": list(self.sizes[stem]) if stem in self.sizes else None,
                             "checksums": list(self.checksums.get(stem, ())),
                             "seconds": self.seconds.get(stem), "scores": _plain(row)}
                      for stem, row in self.values.items()},
            "problems": list(self.problems),
        }

    def write_csv(self, path: str | Path, provenance: Provenance | None = None) -> None:
        """Write one row per pair, then the rows ``mean`` and ``std``; ``#`` lines at the top give the provenance."""
        rows = [["stem", "width", "height", "seconds", *self.names]]
        for stem, row in self.values.items():
            size = self.sizes.get(stem, ("", ""))
            values = [cell(row[name]) for name in self.names]
            rows.append([text_cell(stem), *size, cell(self.seconds.get(stem)), *values])
        mean, std = self.mean(), self.std()
        seconds = np.array(list(self.seconds.values()))
        rows.append(["mean", "", "", cell(mean_of(seconds)), *(cell(mean[name]) for name in self.names)])
        rows.append(["std", "", "", cell(_std(seconds)), *(cell(std[name]) for name in self.names)])
        write_table(path, rows, provenance)

    def write_json(self, path: str | Path, provenance: Provenance | None = None) -> None:
        """Write the same content as one JSON object, with the provenance under ``provenance``."""
        write_json(path, {"provenance": dict(provenance or {}), **self.as_dict()})


def told(rule: ReadingRule) -> dict[str, str]:
    """A reading rule for a record, with the names of option files and the command line."""
    joint = {None: "by layout", True: "yes", False: "no"}[rule.joint]
    raw = {} if rule.raw == "camera" else {"raw": rule.raw}
    return {"range": rule.value_range, "ir_range": rule.infrared_range or rule.value_range, "range_joint": joint, **raw}


def merge(parts: Sequence[Scores]) -> Scores:
    """Merge the scores of processes that shared the pairs; stems in order."""
    first = parts[0]
    stems = sorted(stem for part in parts for stem in part.values)
    joined = {name: {stem: value for part in parts for stem, value in getattr(part, name).items()}
              for name in ("values", "seconds", "sizes", "checksums")}
    ordered = {name: {stem: table[stem] for stem in stems if stem in table} for name, table in joined.items()}
    problems = tuple(line for part in parts for line in part.problems)
    return Scores(first.names, **ordered, problems=problems, colour=first.colour, rule=first.rule)


def write_table(path: str | Path, rows: Sequence[Sequence[Any]], provenance: Provenance | None = None) -> None:
    """Write rows as CSV, after the provenance as ``# key: value`` lines (pandas: ``comment="#"``)."""
    text = io.StringIO()
    for key, value in (provenance or {}).items():
        text.write(f"# {key}: {one_line(value)}\n")
    csv.writer(text, lineterminator="\n").writerows(rows)
    with atomic_write(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write strict JSON (NaN is null, infinity the text ``inf``) atomically."""
    text = json.dumps(_strict(content), indent=1, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def one_line(value: Any) -> str:
    """A provenance value as one line of text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {one_line(entry)}" for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(one_line(entry) for entry in value)
    return " ".join(str(value).split())


def mean_of(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; infinite if a value is."""
    values = values[~np.isnan(values)]
    with np.errstate(invalid="ignore"):  # +inf and -inf have no mean
        return float(values.mean()) if values.size else math.nan


def _std(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.std(ddof=1)) if values.size > 1 else math.nan


def cell(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.10g}"


def _plain(values: Mapping[str, float]) -> dict[str, float | str | None]:
    return {name: _strict(value) for name, value in values.items()}


def _strict(value: Any) -> Any:
    """Copy of nested plain data with values that JSON lacks replaced by null or text."""
    if isinstance(value, Mapping):
        return {str(key): _strict(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(entry) for entry in value]
    if isinstance(value, float):
        return None if math.isnan(value) else value if math.isfinite(value) else f"{value}"
    if value is None or isinstance(value, (str, bool, int)):
        return value
    return str(value)
