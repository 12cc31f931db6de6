"""Statistics of a comparison: means over seeds, and a paired bootstrap over test pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from downstream.tallies import Tally

_LEVELS = (2.5, 97.5)  # percentiles of a 95 % interval


@dataclass(frozen=True)
class Figure:
    """A score of a row.

    Attributes:
        mean: mean over the seeds.
        std: standard deviation over the seeds (n - 1); NaN for a single seed.
        seeds: number of seeds.
        difference: mean difference to the baseline over the seeds that both have; NaN for the baseline itself, or
            without common seeds.
        low, high: 95 % interval of the difference, by the bootstrap.
        common: number of those seeds.
    """

    mean: float
    std: float
    seeds: int
    difference: float
    low: float
    high: float
    common: int

    @property
    def clear(self) -> int:
        """1 or -1 if the interval of the difference lies above or below 0, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def bootstrap_weights(count: int, samples: int, seed: int = 0) -> np.ndarray:
    """How often each of ``count`` pictures is drawn in each sample of ``count`` pictures, (samples, count)."""
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), samples)
    return draws.astype(float)


def figures_of(rows: Mapping[str, Mapping[int, Tally]], baseline: str, chosen: np.ndarray, samples: int
               ) -> dict[str, dict[str, Figure]]:
    """Scores of each row by name.

    Every bootstrap sample draws the same pictures for both rows and all seeds. The interval therefore covers the choice
    of the pictures; the spread over seeds is ``std``.

    Args:
        rows: tally of each row by seed.
        baseline: row to compare with.
        chosen: (n,) bool, the pictures to score.
        samples: number of bootstrap samples.
    """
    places = np.flatnonzero(chosen)
    weights = np.zeros((samples + 1, len(chosen)))
    weights[0, places] = 1  # the scores themselves
    weights[1:, places] = bootstrap_weights(len(places), samples)
    scores = {row: {seed: tally.scores(weights) for seed, tally in tallies.items()} for row, tallies in rows.items()}
    return {row: {name: _figure(own, scores.get(baseline, {}) if row != baseline else {}, name)
                  for name in next(iter(own.values()))} for row, own in scores.items() if own}


def _figure(own: Mapping[int, dict[str, np.ndarray]], other: Mapping[int, dict[str, np.ndarray]], name: str) -> Figure:
    values = np.array([scores[name][0] for scores in own.values()])
    common = sorted(own.keys() & other.keys())
    spread = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    if not common:
        return Figure(float(values.mean()), spread, len(values), *[float("nan")] * 3, 0)
    differences = np.mean([own[seed][name] - other[seed][name] for seed in common], axis=0)
    known = differences[1:][np.isfinite(differences[1:])]
    low, high = np.percentile(known, _LEVELS) if len(known) else (float("nan"),) * 2
    return Figure(float(values.mean()), spread, len(values), float(differences[0]), float(low), float(high),
                  len(common))


def parts_of(stems: Sequence[str], patterns: Mapping[str, str]) -> dict[str, np.ndarray]:
    """(n,) bool for all pictures and for each part that has some."""
    from fnmatch import fnmatchcase

    parts = {"all": np.ones(len(stems), bool)}
    parts |= {name: np.array([fnmatchcase(stem, pattern) for stem in stems]) for name, pattern in patterns.items()}
    return {name: chosen for name, chosen in parts.items() if chosen.any()}


def worst_pictures(rows: Mapping[str, Mapping[int, Tally]], count: int) -> list[int]:
    """Indices of the pictures with the lowest mean over rows and seeds, worst first."""
    each = np.array([tally.each() for tallies in rows.values() for tally in tallies.values()])
    known = np.isfinite(each)
    mean = np.where(known, each, 0).sum(0) / np.maximum(known.sum(0), 1)
    mean[~known.any(0)] = np.inf
    return [int(index) for index in np.argsort(mean, kind="stable")[:count] if np.isfinite(mean[index])]
