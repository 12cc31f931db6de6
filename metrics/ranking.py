"""Compares several methods on one data set: ranks for each metric and their mean."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from metrics.folders import Method
from metrics.scores import Provenance, Scores, cell, mean_of, write_json, write_table
from metrics.table import METRICS
from utils.files import text_cell
from utils.pictures.pairs import PairList
from utils.pictures.reading import ReadingRule

_LONGEST_NAME = 80


def rank(values: Sequence[float], better: str) -> list[float]:
    """Ranks, 1 is best; equal values share the mean of their ranks.

    Args:
        values: one number per method; infinite ones are the best or the worst, depending on the direction.
        better: ``higher``, ``lower`` or ``nearest0`` (the smaller absolute value).

    Raises:
        ValueError: another direction, or a NaN, which has no rank.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if better not in ("higher", "lower", "nearest0"):
        raise ValueError(f"rank: better={better!r}; give higher, lower or nearest0")
    cost = -numbers if better == "higher" else np.abs(numbers) if better == "nearest0" else numbers
    if np.isnan(cost).any():
        raise ValueError("rank: NaN has no rank; leave the pairs out for which a method is not defined")
    # 12 digits: rounding that depends on the order of summation must not affect a rank
    return [float(place) for place in rankdata([float(f"{value:.12g}") for value in cost], method="average")]


def direction(name: str) -> str:
    """``higher``, ``lower`` or ``nearest0``."""
    return METRICS[name].better


class Ranking:
    """Ranks of several methods on the same pairs.

    Ranks compare means over the same pairs. Therefore a method that lacks a score for some pair is shown but not
    ranked. The same holds for a method for which a metric that others have is never defined (such as CC of constant
    pictures), because mean ranks over fewer metrics are not comparable. Each metric is ranked on the pairs where it is
    defined for all ranked methods.

    Attributes:
        stems: the pairs.
        names: the metrics.
        scores: method name -> its scores.
    """

    stems: tuple[str, ...]
    names: tuple[str, ...]
    scores: dict[str, Scores]

    @cached_property
    def undefined(self) -> dict[str, tuple[str, ...]]:
        """Method with scores for all pairs -> metrics that are defined for none of its pairs but for other methods."""
        whole = [name for name, scores in self.scores.items() if len(scores.values) == len(self.stems)]
        nowhere = {name: {metric for metric in self.names if np.isnan(self.scores[name].column(metric)).all()}
                   for name in whole}
        everybody = set.intersection(*nowhere.values()) if nowhere else set()
        return {name: tuple(metric for metric in self.names if metric in lacking - everybody)
                for name, lacking in nowhere.items()}

    @property
    def ranked(self) -> tuple[str, ...]:
        """Names of the methods that are ranked, in the order given."""
        return tuple(name for name, lacking in self.undefined.items() if not lacking)

    @property
    def partial(self) -> tuple[str, ...]:
        """Names of the other methods that have any score."""
        return tuple(name for name, scores in self.scores.items() if scores.values and name not in self.ranked)

    @cached_property
    def shared(self) -> dict[str, tuple[str, ...]]:
        """Metric -> the pairs for which it is defined for every ranked method."""
        return {metric: tuple(stem for stem in self.stems if self.ranked and not any(
            math.isnan(self.scores[name].values[stem][metric]) for name in self.ranked)) for metric in self.names}

    def ranks(self) -> dict[str, dict[str, float]]:
        """Method -> metric -> rank of its mean over the shared pairs; without metrics that share none."""
        table: dict[str, dict[str, float]] = {name: {} for name in self.ranked}
        for metric, stems in self.shared.items():
            means = [mean_of(np.array([self.scores[name].values[stem][metric] for stem in stems]))
                     for name in self.ranked]
            if stems and not any(map(math.isnan, means)):
                for name, place in zip(self.ranked, rank(means, direction(metric))):
                    table[name][metric] = place
        return table

    def mean_ranks(self) -> dict[str, float]:
        """Ranked method -> mean of its ranks over the metrics; empty where no metric has ranks."""
        return {name: float(np.mean(list(row.values()))) for name, row in self.ranks().items() if row}

    def order(self) -> list[str]:
        """Ranked methods by mean rank, then the partial ones."""
        means = self.mean_ranks()
        return sorted(self.ranked, key=lambda name: means.get(name, 0.0)) + list(self.partial)

    def rank_notes(self) -> list[str]:
        """One line for each metric ranked on fewer pairs, and for each method not ranked for lack of a metric."""
        lines = [f"{metric}: ranked on {len(stems)} of {len(self.stems)} pairs, where every ranked method is defined"
                 for metric, stems in self.shared.items() if len(self.ranked) > 1 and len(stems) < len(self.stems)]
        return lines + [f"{name}: not ranked, as {', '.join(lacking)} cannot be computed for any pair"
                        for name, lacking in self.undefined.items() if lacking]


@dataclass(frozen=True)
class Comparison(Ranking):
    """The scores of several methods whose pictures are at hand.

    Attributes:
        sources: the pairs.
        methods: the result folders, in the order given.
        names, scores: see `Ranking`.
    """

    sources: PairList
    methods: tuple[Method, ...]
    names: tuple[str, ...]
    scores: dict[str, Scores]

    @property
    def stems(self) -> tuple[str, ...]:
        return tuple(pair.stem for pair in self.sources.pairs)

    @property
    def rule(self) -> ReadingRule:
        """How the values of the sources were mapped on reading."""
        return next(iter(self.scores.values())).rule

    def problems(self) -> list[str]:
        """One line for each item that was not scored: unpaired sources, missing results, wrong sizes."""
        lines = list(self.sources.problems)
        lines += self.rank_notes()
        for method in self.methods:
            lines += [f"{method.name}: {line}" for line in method.problems]
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
                "ranked_on": {metric: len(stems) for metric, stems in self.shared.items()},
                "unranked": list(self.partial),
                "methods": {name: scores.as_dict() for name, scores in self.scores.items()},
                "problems": self.problems()}

    def write(self, folder: str | Path, provenance: Provenance) -> list[Path]:
        """Write ``comparison.csv``, ``scores.json`` and, for each method, its scores as CSV and as a results file.

        The latter are ``scores_<method>.csv`` and ``results_<method>.json`` (see `write_results`).

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
        return files + self.write_results(folder, provenance)

    def write_results(self, folder: Path, provenance: Provenance) -> list[Path]:
        """Write ``results_<method>.json`` for each method with scores: what ``defusionpp leaderboard`` reads.

        Args:
            folder: output folder.
            provenance: with ``definitions`` and ``version``.
        """
        scored = {name: scores for name, scores in self.scores.items() if scores.values}
        files = [folder / f"results_{file_name(name)}.json" for name in scored]
        for path, (name, scores) in zip(files, scored.items()):
            scores.write_json(path, {**provenance, "method": name})
        return files

    def _rows(self) -> list[list[str]]:
        """The comparison as a table: means, then standard deviations, then ranks."""
        head = ["method", "pairs", "mean_rank", *self.names]
        rows = [[*head, *(f"{name}_std" for name in self.names), *(f"{name}_rank" for name in self.names)]]
        ranks, means = self.ranks(), self.mean_ranks()
        for name in self.order():
            mean, std = self.scores[name].mean(), self.scores[name].std()
            row = [text_cell(name), str(len(self.scores[name].values)), cell(means.get(name, math.nan))]
            row += [cell(mean[metric]) for metric in self.names] + [cell(std[metric]) for metric in self.names]
            rows.append(row + [cell(ranks.get(name, {}).get(metric, math.nan)) for metric in self.names])
        return rows


def file_name(name: str) -> str:
    """The name of a method or pair with characters unsuitable for file names replaced by ``-``.

    Names that are too long are truncated and get a checksum.
    """
    plain = "".join(letter if letter.isalnum() or letter in "._-+" else "-" for letter in name)
    if len(plain) <= _LONGEST_NAME:
        return plain
    return f"{plain[:_LONGEST_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
