"""One plot per metric, with the scores of every pair and one row per method, as SVG styled by the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metrics.ranking import Comparison, direction

WIDTH = 380
LABEL_WIDTH = 136
ROW = 22
TOP = 8
AXIS = 24
RIGHT = 12
MAX_LABEL = 17
# With more pairs, only box and whiskers are drawn: a thousand dots are unreadable and large.
MAX_DOTS = 60


@dataclass(frozen=True)
class Dot:
    x: float
    value: float
    pair: int


@dataclass(frozen=True)
class Row:
    """The row of one method in a plot; x in units of the drawing."""

    method: str
    label: str
    y: float
    ranked: bool
    best: bool
    mean: float | None
    box: tuple[float, float] | None
    whisker: tuple[float, float] | None
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Plot:
    """The data that a template needs to draw one metric."""

    name: str
    better: str
    log: bool
    width: int
    height: int
    left: float
    right: float
    bottom: float
    ticks: tuple[tuple[float, str], ...]
    rows: tuple[Row, ...]
    summary: str


def make_plot(comparison: Comparison, name: str) -> Plot:
    """Lay out the distribution of one metric over the pairs, methods in the order of the table."""
    order = comparison.order()
    places = {stem: place for place, stem in enumerate(comparison.stems)}
    columns = {method: comparison.scores[method].column(name) for method in order}
    means = {method: comparison.scores[method].mean()[name] for method in order}
    finite = np.concatenate([*columns.values(), np.zeros(0)])
    finite = finite[np.isfinite(finite)]
    log = _wants_log(finite)
    low, high = _domain(finite, log)
    left, right = float(LABEL_WIDTH), float(WIDTH - RIGHT)

    def place(value: float) -> float:
        share = (math.log(value / low) / math.log(high / low)) if log else (value - low) / (high - low)
        return round(left + share * (right - left), 1)

    ranks = comparison.ranks()
    rows = []
    for number, method in enumerate(order):
        pairs = [places[stem] for stem in comparison.scores[method].stems]
        best = len(comparison.ranked) > 1 and method in ranks and ranks[method].get(name, math.inf) < 2
        rows.append(_row(method, TOP + (number + 0.5) * ROW, columns[method], pairs, means[method],
                         (method in comparison.ranked, best), place))
    ticks = tuple((place(value), _tick_text(value)) for value in nice_ticks(low, high, log))
    bottom = float(TOP + ROW * len(rows))
    return Plot(name, direction(name), log, WIDTH, int(bottom) + AXIS, left, right, bottom, ticks, tuple(rows),
                _summary(comparison, name, means))


def nice_ticks(low: float, high: float, log: bool = False) -> list[float]:
    """Two to six round numbers inside ``[low, high]``."""
    if log:
        powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
        ticks = [factor * 10.0**power for power in range(powers.start - 1, powers.stop + 1) for factor in (1, 3)]
        ticks = [tick for tick in ticks if low <= tick <= high]
        return ticks if len(ticks) < 6 else [10.0**power for power in powers]
    raw = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first
    return [round((first + number) * step, 12) for number in range(count + 1)]


def _row(method: str, y: float, values: np.ndarray, pairs: Sequence[int], mean: float, flags: tuple[bool, bool],
         place) -> Row:
    label = method if len(method) <= MAX_LABEL else method[:MAX_LABEL - 1] + "…"
    good = values[np.isfinite(values)]
    box = whisker = None
    dots: tuple[Dot, ...] = ()
    if good.size > 3:
        q1, q3 = np.percentile(good, [25, 75])
        box = (place(float(q1)), place(float(q3)))
    if good.size > MAX_DOTS:
        low, high = np.percentile(good, [2.5, 97.5])
        whisker = (place(float(low)), place(float(high)))
    else:
        dots = tuple(Dot(place(float(value)), float(value), pair)
                     for value, pair in zip(values, pairs) if math.isfinite(value))
    return Row(method, label, y, flags[0], flags[1], place(mean) if math.isfinite(mean) else None, box, whisker, dots)


def _wants_log(values: np.ndarray) -> bool:
    """Whether a linear axis would compress most values into a corner."""
    if values.size < 5 or values.min() <= 0:
        return False
    low, high = np.percentile(values, [5, 95])
    return bool(high / low > 25)


def _domain(values: np.ndarray, log: bool) -> tuple[float, float]:
    if values.size == 0:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if log:
        return low / 1.1, high * 1.1
    pad = 0.04 * (high - low) or 0.05 * abs(high) or 0.5
    return low - pad, high + pad


def _tick_text(value: float) -> str:
    if value != 0 and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-")
    return f"{value:.6g}"


def _summary(comparison: Comparison, name: str, means: dict[str, float]) -> str:
    """Text alternative of the plot."""
    told = ", ".join(f"{method} {mean:.4g}" for method, mean in means.items())
    return f"{name} of {len(comparison.stems)} pairs by method. Means: {told}."
