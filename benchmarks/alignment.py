"""How well pictures that do not line up are found: moved by known amounts, beside other tools; docs/ALIGNMENT.md.

    python -m benchmarks.alignment                               simulated pairs and brackets
    python -m benchmarks.alignment --ir IR/ --vi VI/ --pairs 40  registered pairs of your own

Each picture is moved by a random shift, turn and scale and looked for in its unmoved partner. The pair counts as
registered before it is moved, which is exactly true of simulated pairs alone. Brackets are simulated from the visible
pictures; align_image_stack (hugin-tools) takes part if installed.
"""

import argparse
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from data import simulate
from data.demo import PHOTOGRAPHS, infrared_visible, load_photograph
from utils.cli import run
from utils.pictures.alignment import find_alignment
from utils.pictures.alignment.geometry import centre, corners, moved, resizing, similarity, translation, unit_grey
from utils.pictures.layouts import Finding, pair_folders
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

    def draw(self, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """A matrix from pixels of the unmoved picture to those of the moved one."""
        shift = rng.uniform(-self.shift, self.shift, 2) * min(size)
        scale = float(np.exp(rng.uniform(-1, 1) * np.log(self.scale)))
        return similarity(scale, rng.uniform(-self.degrees, self.degrees), centre(size), centre(size) + shift)


CAMERAS = (Range("shift to 5 %", 0.05), Range("5 %, 3 degrees, scale .9 to 1.1", 0.05, 3, 1.1),
           Range("15 %, 10 degrees, scale .7 to 1.4", 0.15, 10, 1.4))
HANDS = (Range("shift to 3 %", 0.03), Range("3 %, 1 degree", 0.03, 1),
         Range("3 %, 1 degree, scale .98 to 1.02", 0.03, 1, 1.02))


@dataclass
class Tally:
    """Errors in pixels, the mean of the corners of each pair; and whether each was believed, where a method says so."""

    errors: list[float] = field(default_factory=list)
    believed: list[bool] = field(default_factory=list)

    def add(self, error: float, *, believed: bool | None = None) -> None:
        """Counts a pair."""
        self.errors.append(error)
        if believed is not None:
            self.believed.append(believed)

    def row(self, *titles: str) -> str:
        """A line of the table: median error, found, refused, falsely believed."""
        errors, believed = np.array(self.errors), np.array(self.believed)
        doubts = [(~believed).mean(), (believed & (errors > WRONG)).mean()] if self.believed else []
        cells = [*titles, f"{np.median(errors):.2f}", _percent((errors < FOUND).mean()),
                 *(map(_percent, doubts) if doubts else ("", "")), str(len(errors))]
        return "| " + " | ".join(cells) + " |"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def simulated() -> list[Scene]:
    """Infrared and visible pictures of the demo."""
    pairs = infrared_visible({name: load_photograph(name) for name in PHOTOGRAPHS})
    return [("simulated", name, *(simulate.to_bytes(one.reshape(*one.shape[:2], -1)) for one in pair))
            for name, pair in pairs.items()]


def registered(infrared: Path, visible: Path, count: int, seed: int) -> list[Scene]:
    """Some pairs of two folders, by the names before the first underscore in equal numbers."""
    found = Finding()
    pair_folders(infrared, visible, found)
    kinds: dict[str, list] = {}
    for index in np.random.default_rng(seed).permutation(len(found.pairs)):
        pair = found.pairs[index]
        kinds.setdefault(pair.stem.split("_")[0], []).append(pair)
    turns = [pair for turn in _turns(list(kinds.values())) for pair in turn][:count]
    kinds_of = [pair.stem.split("_")[0] for pair in turns]
    return [(kind, kind, read_picture(pair.first).pixels, read_picture(pair.second).pixels)
            for kind, pair in zip(kinds_of, turns)]


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


def error(found: np.ndarray, truth: np.ndarray, size: tuple[int, int]) -> float:
    """Mean distance of the corners from where they belong, in pixels of the reference."""
    ends = corners(size)
    return float(np.hypot(*(moved(np.linalg.inv(truth) @ found, ends) - ends).T).mean())


def cameras(scenes: list[Scene], rng: np.random.Generator) -> Iterator[str]:
    """Infrared pictures moved and looked for in the visible ones, by kind of scene."""
    for amount in CAMERAS:
        tallies: dict[str, Tally] = {}
        ecc: dict[str, Tally] = {}
        for kind, _, infrared, visible in scenes:
            one, other = unit_grey(visible), unit_grey(infrared)
            size = one.shape[1], one.shape[0]
            truth = amount.draw(size, rng)
            picture = move(other, truth)
            found = find_alignment(one, picture, "translation" if "shift to" in amount.title else "auto")
            tally = tallies.setdefault(kind, Tally())
            tally.add(error(found.matrix, truth, size), believed=found.credible)
            ecc.setdefault(kind, Tally()).add(error(by_ecc(one, picture), truth, size))
        for kind, tally in tallies.items():
            yield tally.row(kind, amount.title, "ours")
            yield ecc[kind].row(kind, amount.title, "ECC on gradients")


def strangers(scenes: list[Scene], rounds: int) -> str:
    """How many pairs of different places are believed."""
    believed, tried, highest = 0, 0, 0.0
    for step in range(1, rounds + 1):
        for index, (_, place, _, visible) in enumerate(scenes):
            _, elsewhere, infrared, _ = scenes[(index + step) % len(scenes)]
            if place == elsewhere:
                continue
            one = unit_grey(visible)
            other = cv2.resize(unit_grey(infrared), (one.shape[1], one.shape[0]), interpolation=cv2.INTER_AREA)
            found = find_alignment(one, other)
            believed, tried, highest = believed + found.credible, tried + 1, max(highest, found.confidence)
    return f"{believed} of {tried} pairs of different places believed; highest confidence {highest:.3f}"


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
        tallies.setdefault(kind, Tally()).add(error(found.matrix, truth, (width, height)), believed=found.credible)
    for kind, tally in tallies.items():
        yield tally.row(kind, "a smaller field, .45 to .9 of each side", "ours")


Method = Callable[[np.ndarray, np.ndarray], np.ndarray]


def by_ecc(reference: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """OpenCV's ECC on gradient strengths, Euclidean, at a quarter and half of the size; else the identity."""
    matrix = np.eye(3)
    for scale in (0.25, 0.5):
        small = [_strength(cv2.resize(one, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
                 for one in (reference, picture)]
        to_small = resizing((reference.shape[1], reference.shape[0]), (small[0].shape[1], small[0].shape[0]))
        start = (to_small @ matrix @ np.linalg.inv(to_small))[:2].astype(np.float32)
        stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-5)
        try:
            _, better = cv2.findTransformECC(*small, start, cv2.MOTION_EUCLIDEAN, stop, None, 5)
        except cv2.error:
            continue
        matrix = np.linalg.inv(to_small) @ np.vstack([better, [0, 0, 1]]) @ to_small
    return matrix


def _strength(grey: np.ndarray) -> np.ndarray:
    grey = cv2.GaussianBlur(grey, (0, 0), 1.0)
    return np.sqrt(np.hypot(cv2.Scharr(grey, cv2.CV_32F, 1, 0), cv2.Scharr(grey, cv2.CV_32F, 0, 1)))


def by_mtb(reference: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """OpenCV's median-threshold bitmaps: whole shifts alone."""
    right, down = cv2.createAlignMTB().calculateShift(*(simulate.to_bytes(one) for one in (reference, picture)))
    return translation(-right, -down)


def by_hugin(reference: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """align_image_stack with a long lens, whose pan is a shift; the identity where it fails."""
    size = reference.shape[1], reference.shape[0]
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("a.tif", "b.tif")]
        for path, one in zip(paths, (reference, picture)):
            cv2.imwrite(path, simulate.to_bytes(one))
        done = subprocess.run(["align_image_stack", "-m", "-f", "5", "-p", "out.pto", *paths], cwd=folder,
                              capture_output=True, text=True)
        project = Path(folder) / "out.pto"
        if done.returncode or not project.exists():
            return np.eye(3)
        return _from_panorama(project.read_text(), size)


def _from_panorama(project: str, size: tuple[int, int]) -> np.ndarray:
    """The homography between two pictures of a hugin project, both rectilinear."""
    cameras = []
    for line in [line for line in project.splitlines() if line.startswith("i ")][:2]:
        value = {key: float(number) for key, number in re.findall(r" ([vrpy])(-?[\d.]+(?:e-?\d+)?)", line)}
        if "v" not in value:  # the second takes the first one's angle of view
            value["v"] = cameras[0][1]
        yaw, pitch, roll = (np.deg2rad(value[key]) for key in "ypr")
        focal = size[0] / 2 / np.tan(np.deg2rad(value["v"]) / 2)
        middle = centre(size)
        lens = np.array([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]])
        turn = (cv2.Rodrigues(np.array([0, yaw, 0]))[0] @ cv2.Rodrigues(np.array([pitch, 0, 0]))[0]
                @ cv2.Rodrigues(np.array([0, 0, roll]))[0])
        cameras.append((lens, value["v"], turn))
    (first, _, turn1), (second, _, turn2) = cameras
    return second @ turn2.T @ turn1 @ np.linalg.inv(first)


def brackets(scenes: list[Scene], rng: np.random.Generator) -> Iterator[str]:
    """Exposures two stops below and above, of the visible pictures, one of them moved as a hand does."""
    methods: dict[str, Method] = {"AlignMTB": by_mtb}
    if shutil.which("align_image_stack"):
        methods["align_image_stack"] = by_hugin
    for amount in HANDS:
        tallies = {name: Tally() for name in ("ours", *methods)}
        for *_, visible in scenes:
            colour = np.repeat(visible, 3 // visible.shape[2], axis=2).astype(np.float32) / 255
            size = colour.shape[1], colour.shape[0]
            light = simulate.slope((size[1], size[0]), tuple(rng.uniform(-1, 1, 2)), 1.5)
            truth = amount.draw(size, rng)
            under, over = (simulate.to_bytes(one) for one in simulate.bracket(colour, light, 2.0))
            reference, picture = unit_grey(over), move(unit_grey(under), truth)
            found = find_alignment(reference, picture)
            tallies["ours"].add(error(found.matrix, truth, size), believed=found.credible)
            for name, method in methods.items():
                tallies[name].add(error(method(reference, picture), truth, size))
        for name, tally in tallies.items():
            yield tally.row("bracket", amount.title, name)


def main(arguments: list[str]) -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alignment", description=__doc__.splitlines()[0])
    parser.add_argument("--ir", type=Path, help="folder of infrared pictures")
    parser.add_argument("--vi", type=Path, help="folder of visible pictures")
    parser.add_argument("--pairs", type=int, default=40, help="how many of them")
    parser.add_argument("--strangers", type=int, default=4, help="rounds of pairs that do not belong together")
    parser.add_argument("--parts", nargs="+", choices=["pairs", "fields", "brackets", "strangers"],
                        default=["pairs", "fields", "brackets", "strangers"], help="what is measured")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    rng = np.random.default_rng(given.seed)
    scenes = registered(given.ir, given.vi, given.pairs, given.seed) if given.ir and given.vi else simulated()
    print("| pictures | moved by | method | median px | < 2 px | refused | believed, > 5 px | pairs |")
    print("|---|---|---|---|---|---|---|---|")
    for part, measure in (("pairs", cameras), ("fields", fields), ("brackets", brackets)):
        for row in measure(scenes, rng) if part in given.parts else ():
            print(row, flush=True)
    if "strangers" in given.parts:
        print(f"\n{strangers(scenes, given.strangers)}", flush=True)


if __name__ == "__main__":
    run(main)
