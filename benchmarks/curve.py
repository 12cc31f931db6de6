"""Draws the loss on held-back photographs and the scores of pairs over the images seen in training.

    python -m benchmarks.curve docs/assets/training_curve.json docs/assets/training_curve.svg

The JSON file holds the measured points (see :class:`Curve`); add one and run the command again. The loss of the series
``extrapolate`` is continued to the published length by the power law that fits it best. Prints the points as a table.
"""

import argparse
import sys
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FormatStrFormatter, LogLocator, NullLocator
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from utils.cli import run
from utils.errors import MissingFileError, UserError
from utils.files import atomic_write

# Mid-tones, readable on white and on black paper.
PENCIL = "#7d8590"
COLOURS = ("#d9730d", "#1f83d6", "#2e9e5b", "#b565c9", "#c2902e")
MARKERS = ("o", "s", "^", "D", "v")
Positive = Annotated[float, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Point(_Strict):
    """Weights that were measured.

    Attributes:
        images: training images seen in all.
        series: name of the line it belongs to: points of a series were trained alike.
        loss: stage 1 loss of ``python -m benchmarks.held_back``.
        scores: mean scores of pairs by name, higher is better; may be empty.
    """

    images: Annotated[int, Field(gt=0)]
    series: str
    loss: Positive
    scores: dict[str, float] = {}


class Curve(_Strict):
    """The data file.

    Attributes:
        published: images seen in the published training.
        extrapolate: series whose power law is drawn up to ``published``.
        points: at least two of that series, at different images.
    """

    published: Annotated[int, Field(gt=0)]
    extrapolate: str
    points: list[Point]

    def series(self, name: str) -> list[Point]:
        """Points of a series, by images."""
        return sorted((point for point in self.points if point.series == name), key=lambda point: point.images)


def read_curve(path: Path) -> Curve:
    """Read a data file.

    Raises:
        UserError: it is missing, not such a file, or has too few points to extrapolate.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; give the JSON file of the measured points")
    try:
        curve = Curve.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {place or 'the file'}: {first['msg']}; correct the measured points") from error
    if len({point.images for point in curve.series(curve.extrapolate)}) < 2:
        raise UserError(f"{path}: extrapolate: {curve.extrapolate!r} has not two points at different images; "
                        "name a series that has")
    return curve


def power_law(images: list[int], values: list[float]) -> tuple[float, float]:
    """Fit ``factor * images ** exponent`` by least squares of the logarithms; returns (factor, exponent)."""
    exponent, offset = np.polyfit(np.log(images), np.log(values), 1)
    return float(np.exp(offset)), float(exponent)


def draw(curve: Curve) -> Figure:
    """The picture: loss at the left, scores at the right."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    figure.patch.set_alpha(0)
    left, right = figure.subplots(1, 2)
    _draw_loss(left, curve)
    _draw_scores(right, curve)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("training images seen")
        axes.patch.set_alpha(0)
        axes.grid(color=PENCIL, alpha=0.2, linewidth=0.5)
        axes.tick_params(which="both", colors=PENCIL)
        for part in (axes.xaxis.label, axes.yaxis.label, axes.title):
            part.set_color(PENCIL)
        axes.spines[:].set_color(PENCIL)
        axes.legend(frameon=False, labelcolor=PENCIL, fontsize=8)
    return figure


def _draw_loss(axes: Axes, curve: Curve) -> None:
    for index, name in enumerate(dict.fromkeys(point.series for point in curve.points)):
        points = curve.series(name)
        axes.plot([p.images for p in points], [p.loss for p in points], color=COLOURS[index % len(COLOURS)],
                  marker=MARKERS[index % len(MARKERS)], label=name)
    fitted = curve.series(curve.extrapolate)
    factor, exponent = power_law([p.images for p in fitted], [p.loss for p in fitted])
    ends = np.array([fitted[0].images, curve.published])
    axes.plot(ends, factor * ends ** exponent, "--", color=PENCIL, label=f"images$^{{{exponent:.2f}}}$, extrapolated")
    axes.axvline(curve.published, color=PENCIL, linewidth=0.8, linestyle=":", label="published length")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_title("loss on held-back photographs", fontsize=10)


def _draw_scores(axes: Axes, curve: Curve) -> None:
    scored = sorted((point for point in curve.points if point.scores), key=lambda point: point.images)
    for index, name in enumerate(dict.fromkeys(name for point in scored for name in point.scores)):
        having = [point for point in scored if name in point.scores]
        axes.plot([p.images for p in having], [p.scores[name] for p in having], color=COLOURS[index % len(COLOURS)],
                  marker=MARKERS[index % len(MARKERS)], label=name)
    axes.set_title("scores of real pairs", fontsize=10)


def table(curve: Curve) -> str:
    """The points as a Markdown table, with the extrapolated loss."""
    names = list(dict.fromkeys(name for point in curve.points for name in point.scores))
    rows = [("images", "training", "held-back loss", *names), ("---:", "---") + ("---:",) * (1 + len(names))]
    for point in sorted(curve.points, key=lambda point: point.images):
        scores = (f"{point.scores[name]:.3f}" if name in point.scores else "" for name in names)
        rows.append((f"{point.images:,}", point.series, f"{point.loss:.2f}", *scores))
    fitted = curve.series(curve.extrapolate)
    factor, exponent = power_law([p.images for p in fitted], [p.loss for p in fitted])
    reached = factor * curve.published ** exponent
    rows.append((f"{curve.published:,}", f"extrapolated, images^{exponent:.2f}", f"{reached:.2f}", *[""] * len(names)))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main(arguments: list[str]) -> None:
    """Draw the picture and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("points", type=Path, help="JSON file of the measured points")
    parser.add_argument("out", type=Path, help="the picture, .svg or .png")
    given = parser.parse_args(arguments)
    if given.out.suffix not in (".svg", ".png"):
        raise UserError(f"{given.out}: not the name of a picture; give one ending in .svg or .png")
    curve = read_curve(given.points)
    kind = given.out.suffix[1:]
    with matplotlib.rc_context({"svg.hashsalt": "curve", "svg.fonttype": "none"}), atomic_write(given.out) as beside:
        draw(curve).savefig(beside, format=kind, dpi=110, metadata={"Date": None} if kind == "svg" else None)
    sys.stdout.write(table(curve) + "\n")


if __name__ == "__main__":
    run(main)
