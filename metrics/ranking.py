"""Several methods on one data set, side by side: ranks for each metric and their mean."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from metrics.folders import Method, SourceSet
from metrics.scores import Provenance, Scores, cell, write_json, write_table
from metrics.table import METRICS


def rank(values: Sequence[float], better: str) -> list[float]:
    """Ranks, 1 is best; equal values share the mean of their ranks; NaN shares the last ones.

    Args:
        values: one number a method.
        better: ``higher``, ``lower`` or ``nearest0`` (the smaller absolute value).
    """
    numbers = np.asarray(values, dtype=np.float64)
    if better not in ("higher", "lower", "nearest0"):
        raise ValueError(f"rank: better={better!r}; give higher, lower or nearest0")
    cost = -numbers if better == "higher" else np.abs(numbers) if better == "nearest0" else numbers
    cost = np.where(np.isnan(cost), np.inf, cost)
    # 12 digits: what two orders of summation make of one number must not decide a rank
    return [float(place) for place in rankdata([float(f"{value:.12g}") for value in cost], method="average")]


def direction(name: str) -> str:
    """``higher``, ``lower`` or ``nearest0``."""
    return METRICS[name].better


@dataclass(frozen=True)
class Comparison:
    """The scores of several methods.

    A method without a score for some pair is shown but not ranked: a mean over other pairs compares nothing.

    Attributes:
        sources: the pairs.
        methods: the result folders, in the order given.
        names: the metrics.
        scores: method name -> its scores.
    """

    sources: SourceSet
    methods: tuple[Method, ...]
    names: tuple[str, ...]
    scores: dict[str, Scores]

    @property
    def stems(self) -> tuple[str, ...]:
        return tuple(pair.stem for pair in self.sources.pairs)

    @property
    def ranked(self) -> tuple[str, ...]:
        """Names of the methods that have a score for every pair, in the order given."""
        return tuple(name for name, scores in self.scores.items() if len(scores.values) == len(self.stems))

    @property
    def partial(self) -> tuple[str, ...]:
        """Names of the other methods that have any score."""
        return tuple(name for name, scores in self.scores.items() if scores.values and name not in self.ranked)

    def ranks(self) -> dict[str, dict[str, float]]:
        """Method -> metric -> rank of its mean among the ranked methods."""
        table: dict[str, dict[str, float]] = {name: {} for name in self.ranked}
        for metric in self.names:
            means = [self.scores[name].mean()[metric] for name in self.ranked]
            for name, place in zip(self.ranked, rank(means, direction(metric))):
                table[name][metric] = place
        return table

    def mean_ranks(self) -> dict[str, float]:
        """Ranked method -> mean of its ranks over the metrics."""
        return {name: float(np.mean(list(row.values()))) for name, row in self.ranks().items()}

    def order(self) -> list[str]:
        """Ranked methods by mean rank, then the partial ones."""
        means = self.mean_ranks()
        return sorted(self.ranked, key=lambda name: means[name]) + list(self.partial)

    def problems(self) -> list[str]:
        """One line for everything that was not scored: unpaired sources, missing results, wrong sizes."""
        lines = list(self.sources.problems)
        for method in self.methods:
            if method.missing:
                lines.append(f"{method.name}: no picture for {', '.join(method.missing)}; in {method.folder}")
            scores = self.scores[method.name]
            lines += [f"{method.name}: {line}" for line in scores.problems]
            undefined = {name: int(np.isnan(scores.column(name)).sum()) for name in self.names}
            lines += [f"{method.name}: {name} is not defined for {count} of {len(scores.values)} pairs, left out of "
                      "its mean" for name, count in undefined.items() if count]
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {"metrics": list(self.names), "better": {name: direction(name) for name in self.names},
                "order": self.order(), "mean_rank": self.mean_ranks(), "rank": self.ranks(),
                "unranked": list(self.partial),
                "methods": {name: scores.as_dict() for name, scores in self.scores.items()},
                "problems": self.problems()}

    def write(self, folder: str | Path, provenance: Provenance) -> list[Path]:
        """Write ``comparison.csv``, ``scores.json`` and, for each method, ``scores_<method>.csv``.

        Returns:
            The files.
        """
        folder = Path(folder)
        files = [folder / "comparison.csv", folder / "scores.json"]
        write_table(files[0], self._rows(), provenance)
        write_json(files[1], {"provenance": dict(provenance), **self.as_dict()})
        for name, scores in self.scores.items():
            if scores.values:
                files.append(folder / f"scores_{file_name(name)}.csv")
                scores.write_csv(files[-1], {**provenance, "method": name})
        return files

    def _rows(self) -> list[list[str]]:
        """The comparison as a table: means, then standard deviations, then ranks."""
        head = ["method", "pairs", "mean_rank", *self.names]
        rows = [[*head, *(f"{name}_std" for name in self.names), *(f"{name}_rank" for name in self.names)]]
        ranks, means = self.ranks(), self.mean_ranks()
        for name in self.order():
            mean, std = self.scores[name].mean(), self.scores[name].std()
            row = [name, str(len(self.scores[name].values)), cell(means.get(name, math.nan))]
            row += [cell(mean[metric]) for metric in self.names] + [cell(std[metric]) for metric in self.names]
            rows.append(row + [cell(ranks.get(name, {}).get(metric, math.nan)) for metric in self.names])
        return rows


def file_name(name: str) -> str:
    """A method's or pair's name with everything a file name should not hold replaced by ``-``."""
    return "".join(letter if letter.isalnum() or letter in "._-+" else "-" for letter in name)
