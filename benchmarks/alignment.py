"""How well pictures that do not line up are found: moved by known amounts, beside other tools; docs/ALIGNMENT.md.

    python -m benchmarks.alignment                               simulated pairs, brackets and focus series
    python -m benchmarks.alignment --ir IR/ --vi VI/ --pairs 40  registered pairs of your own

Each picture is moved by a random shift, turn and scale and looked for in its unmoved partner. The pair counts as
registered before it is moved, which is exactly true of simulated pairs alone; for the others, "own" compares with
where the unmoved picture was found, which leaves the errors of their registration out. Brackets and focus series are
simulated from the visible pictures; align_image_stack (hugin-tools) takes part if installed.
"""

import argparse
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from benchmarks.alignment_tools import Method, by_ecc, by_hugin, by_mtb
from benchmarks.stacks import focus_series
from data import simulate
from data.demo import PHOTOGRAPHS, infrared_visible, load_photograph
from utils.cli import run
from utils.pictures.alignment import Align, Alignment, find_alignment
from utils.pictures.alignment.geometry import centre, corners, moved, resizing, similarity, translation, unit_grey
from utils.pictures.layouts import Finding, PairPaths, pair_folders
from utils.pictures.reading import read_picture

Scene = tuple[str, str, np.ndarray, np.ndarray]
"""Kind, place (two pictures of one place are no strangers: fixed cameras), infrared and visible, (H, W, 1 or 3)."""
FOUND, WRONG = 2.0, 5.0
"""Errors in pixels: below the first a pair counts as found; a believed one above the second as falsely believed."""


@dataclass(frozen=True)
class Range:
    """Amounts that are drawn: shift in shares of the short side, degrees, factor."""

    title: str
    shift: float
    degrees: float = 0.0
    scale: float = 1.0
    noise: float = 0.0
    """Standard deviation of the noise that is added to both pictures, of 1."""

    def draw(self, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """A matrix from pixels of the unmoved picture to those of the moved one."""
        shift = rng.uniform(-self.shift, self.shift, 2) * min(size)
        scale = float(np.exp(rng.uniform(-1, 1) * np.log(self.scale)))
        return similarity(scale, rng.uniform(-self.degrees, self.degrees), centre(size), centre(size) + shift)


CAMERAS = (Range("shift to 5 %", 0.05), Range("5 %, 3 degrees, scale .9 to 1.1", 0.05, 3, 1.1),
           Range("15 %, 10 degrees, scale .7 to 1.4", 0.15, 10, 1.4),
           Range("5 %, 3 degrees, scale .9 to 1.1, noise of 10 levels", 0.05, 3, 1.1, 10 / 255))
HANDS = (Range("shift to 3 %", 0.03), Range("3 %, 1 degree", 0.03, 1),
         Range("3 %, 1 degree, scale .98 to 1.02", 0.03, 1, 1.02),
         Range("3 %, 1 degree, noise of 5 levels", 0.03, 1, noise=5 / 255))
BREATHING = (Range("scale .97 to 1.03", 0.0, scale=1.03), Range("1 %, scale .97 to 1.03", 0.01, scale=1.03),
             Range("1 %, scale .97 to 1.03, noise of 5 levels", 0.01, scale=1.03, noise=5 / 255))
PARTS = ["pairs", "fields", "brackets", "focus", "strangers"]
DEPTH = 32.0
"""Range of the simulated disparity in pixels: the far end is blurred by 6 pixels where the near one is in focus."""


@dataclass
class Tally:
    """Errors in pixels, over the picture, at its corners, and against the tool's own answer for the unmoved picture."""

    errors: list[tuple[float, float]] = field(default_factory=list)
    believed: list[bool] = field(default_factory=list)
    own: list[float] = field(default_factory=list)

    def add(self, errors: tuple[float, float], *, believed: bool | None = None, own: float | None = None) -> None:
        """Count a pair."""
        self.errors.append(errors)
        if believed is not None:
            self.believed.append(believed)
        if own is not None:
            self.own.append(own)

    def row(self, *titles: str) -> str:
        """A line of the table."""
        (over, ends), believed = np.array(self.errors).T, np.array(self.believed)
        doubts = [(~believed).mean(), (believed & (ends > WRONG)).mean()] if self.believed else []
        cells = [*titles, f"{np.median(over):.2f}", f"{np.median(ends):.2f}", _percent((ends < FOUND).mean()),
                 *(map(_percent, doubts) if doubts else ("", "")),
                 f"{np.median(self.own):.2f}" if self.own else "", str(len(ends))]
        return "| " + " | ".join(cells) + " |"


HEADING = ("| pictures | moved by | method | px | px at corners | < 2 px there | refused | believed, > 5 px there "
           "| own, px | pairs |")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def simulated() -> list[Scene]:
    """Infrared and visible pictures of the demo."""
    pairs = infrared_visible({name: load_photograph(name) for name in PHOTOGRAPHS})
    return [("simulated", name, *(simulate.to_bytes(one.reshape(*one.shape[:2], -1)) for one in pair))
            for name, pair in pairs.items()]


def registered(infrared: Path, visible: Path, count: int, seed: int) -> list[Scene]:
    """Some pairs of two folders, in equal numbers by kind: the name before the first underscore, or the folder's."""
    def kind_of(pair: PairPaths) -> str:
        return pair.stem.split("_")[0] if "_" in pair.stem else infrared.resolve().parent.name

    found = Finding()
    pair_folders(infrared, visible, found)
    kinds: dict[str, list] = {}
    for index in np.random.default_rng(seed).permutation(len(found.pairs)):
        pair = found.pairs[index]
        kinds.setdefault(kind_of(pair), []).append(pair)
    turns = [pair for turn in _turns(list(kinds.values())) for pair in turn][:count]
    return [(kind_of(pair), kind_of(pair), read_picture(pair.first).pixels, read_picture(pair.second).pixels)
            for pair in turns]


def _turns(groups: list[list]) -> Iterator[list]:
    for place in range(max(map(len, groups), default=0)):
        yield [group[place] for group in groups if place < len(group)]


def move(grey: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """A picture moved, mirrored where nothing is known; smoothed first where it shrinks."""
    scale = float(np.sqrt(np.linalg.det(matrix[:2, :2])))
    if scale < 0.95:
        grey = cv2.GaussianBlur(grey, (0, 0), 0.5 / scale)
    size = grey.shape[1], grey.shape[0]
    return cv2.warpPerspective(grey, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101).clip(0, 1)


def noisy(grey: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """A picture with Gaussian noise."""
    return (grey + noise * rng.standard_normal(grey.shape, np.float32)).clip(0, 1) if noise else grey


def errors(found: np.ndarray, truth: np.ndarray, size: tuple[int, int]) -> tuple[float, float]:
    """Mean distance from where they belong, in pixels of the reference: of a grid over the picture, of the corners."""
    places = np.stack(np.meshgrid(*(np.linspace(0, side - 1, 9) for side in size)), axis=-1).reshape(-1, 2)
    back = np.linalg.inv(truth) @ found
    over, ends = (float(np.hypot(*(moved(back, one) - one).T).mean()) for one in (places, corners(size)))
    return over, ends


def cameras(scenes: list[Scene], rng: np.random.Generator) -> Iterator[str]:
    """Infrared pictures moved and looked for in the visible ones, by kind of scene."""
    @cache
    def unmoved(index: int, align: Align) -> Alignment:
        *_, infrared, visible = scenes[index]
        return find_alignment(unit_grey(visible), unit_grey(infrared), align)

    for amount in CAMERAS:
        tallies: dict[str, Tally] = {}
        ecc: dict[str, Tally] = {}
        for index, (kind, _, infrared, visible) in enumerate(scenes):
            one, other = unit_grey(visible), unit_grey(infrared)
            size = one.shape[1], one.shape[0]
            truth = amount.draw(size, rng)
            align: Align = "translation" if amount.scale == 1 else "auto"
            before = unmoved(index, align)
            one, picture = noisy(one, amount.noise, rng), noisy(move(other, truth), amount.noise, rng)
            found = find_alignment(one, picture, align)
            own = errors(found.matrix, truth @ before.matrix, size)[0] if before.credible else None
            tallies.setdefault(kind, Tally()).add(errors(found.matrix, truth, size), believed=found.credible, own=own)
            ecc.setdefault(kind, Tally()).add(errors(by_ecc(one, picture), truth, size))
        for kind, tally in tallies.items():
            yield tally.row(kind, amount.title, "ours")
            yield ecc[kind].row(kind, amount.title, "ECC on gradients")


def strangers(scenes: list[Scene], count: int, rng: np.random.Generator) -> str:
    """How many of ``count`` pairs of different places are believed."""
    places = [place for _, place, _, _ in scenes]
    apart = [(one, other) for one in range(len(scenes)) for other in range(len(scenes)) if places[one] != places[other]]
    chosen = [apart[index] for index in rng.permutation(len(apart))[:count]]
    believed, highest = 0, 0.0
    for one, other in chosen:
        visible, infrared = unit_grey(scenes[one][3]), unit_grey(scenes[other][2])
        size = visible.shape[1], visible.shape[0]
        found = find_alignment(visible, cv2.resize(infrared, size, interpolation=cv2.INTER_AREA))
        believed, highest = believed + found.credible, max(highest, found.confidence)
    return f"{believed} of {len(chosen)} pairs of different places believed; highest confidence {highest:.3f}"


def fields(scenes: list[Scene], rng: np.random.Generator) -> Iterator[str]:
    """The infrared picture shows .45 to .9 of each side, at half the resolution."""
    tallies: dict[str, Tally] = {}
    for kind, _, infrared, visible in scenes:
        one, other = unit_grey(visible), unit_grey(infrared)
        height, width = one.shape
        share = rng.uniform(0.45, 0.9)
        wide, high = int(share * width), int(share * height)
        left, top = int(rng.integers(0, width - wide)), int(rng.integers(0, height - high))
        cut = other[top:top + high, left:left + wide]
        small = cv2.resize(cut, (wide // 2, high // 2), interpolation=cv2.INTER_AREA)
        truth = resizing((wide, high), (wide // 2, high // 2)) @ translation(-left, -top)
        found = find_alignment(one, small)
        tallies.setdefault(kind, Tally()).add(errors(found.matrix, truth, (width, height)),
                                                  believed=found.credible)
    for kind, tally in tallies.items():
        yield tally.row(kind, "a smaller field, .45 to .9 of each side", "ours")


def brackets(scenes: list[Scene], rng: np.random.Generator) -> Iterator[str]:
    """Exposures two stops below and above, of the visible pictures, one of them moved as a hand does."""
    def pair(colour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        light = simulate.slope(colour.shape[:2], tuple(rng.uniform(-1, 1, 2)), 1.5)
        under, over = simulate.bracket(colour, light, 2.0)
        return simulate.to_bytes(over), simulate.to_bytes(under)

    yield from _series("bracket", scenes, HANDS, pair, {"AlignMTB": by_mtb}, rng)


def focus(scenes: list[Scene], rng: np.random.Generator) -> Iterator[str]:
    """The ends of a focus series of the visible pictures, over a ramp of depth, whose frame breathes."""
    def pair(colour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ramp = simulate.slope(colour.shape[:2], tuple(rng.uniform(-1, 1, 2)), 1.0)
        far, near = focus_series(simulate.to_bytes(colour), DEPTH / 2 * (1 + ramp), 2)
        return far, near

    yield from _series("focus series", scenes, BREATHING, pair, {"ECC on gradients": by_ecc}, rng)


def _series(kind: str, scenes: list[Scene], amounts: Sequence[Range],
            pair: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], others: dict[str, Method],
            rng: np.random.Generator) -> Iterator[str]:
    """Rows for pairs made from the visible pictures, (H, W, 3) in [0, 1] -> two of uint8, the second one moved."""
    if shutil.which("align_image_stack"):
        others = {**others, "align_image_stack": by_hugin}
    for amount in amounts:
        tallies = {name: Tally() for name in ("ours", *others)}
        for *_, visible in scenes:
            first, second = pair(np.repeat(visible, 3 // visible.shape[2], axis=2).astype(np.float32) / 255)
            size = first.shape[1], first.shape[0]
            truth = amount.draw(size, rng)
            reference = noisy(unit_grey(first), amount.noise, rng)
            picture = noisy(move(unit_grey(second), truth), amount.noise, rng)
            found = find_alignment(reference, picture)
            tallies["ours"].add(errors(found.matrix, truth, size), believed=found.credible)
            for name, method in others.items():
                tallies[name].add(errors(method(reference, picture), truth, size))
        for name, tally in tallies.items():
            yield tally.row(kind, amount.title, name)


def main(arguments: list[str]) -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alignment", description=__doc__.splitlines()[0])
    parser.add_argument("--ir", type=Path, nargs="+", default=[], help="folders of infrared pictures")
    parser.add_argument("--vi", type=Path, nargs="+", default=[], help="folders of visible pictures, in the same order")
    parser.add_argument("--pairs", type=int, default=40, help="how many of each pair of folders")
    parser.add_argument("--strangers", type=int, default=100, help="how many pairs that do not belong together")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what is measured")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    rng = np.random.default_rng(given.seed)
    scenes = [scene for folders in zip(given.ir, given.vi) for scene in registered(*folders, given.pairs, given.seed)]
    scenes = scenes or simulated()
    print(HEADING + "\n" + "|---" * (HEADING.count("|") - 1) + "|")
    for part, measure in zip(PARTS, (cameras, fields, brackets, focus)):
        for row in measure(scenes, rng) if part in given.parts else ():
            print(row, flush=True)
    if "strangers" in given.parts:
        print(f"\n{strangers(scenes, given.strangers, rng)}", flush=True)


if __name__ == "__main__":
    run(main)
