"""Demo pictures: simulated pairs of three tasks, made from freely licensed photographs.

    python -m data.demo OUT

The photographs come with scikit-image, so nothing is downloaded. The pairs are *simulated*, not taken by a thermal
camera, with bracketing or at two focus settings (`README.txt` in OUT says so). They are meant for trying and
showing the program, not for measuring it. With the same releases of scikit-image, OpenCV and NumPy, the files are
identical byte for byte.
"""

import argparse
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import skimage.data

from data import simulate
from utils.cli import run
from utils.errors import UserError
from utils.files import atomic_write
from utils.pictures.reading import read_picture
from utils.pictures.writing import write_picture

log = logging.getLogger(__name__)

LONG_SIDE = 480

Outline = list[tuple[float, float]]


@dataclass(frozen=True)
class Photograph:
    """One photograph of scikit-image, with the licence given in its documentation."""

    file: str
    licence: str


PHOTOGRAPHS = {
    "astronaut": Photograph("astronaut.png", "Eileen Collins, NASA Great Images database: no known copyright "
                                             "restrictions, public domain"),
    "camera": Photograph("camera.png", "photograph by Lav Varshney: CC0"),
    "cat": Photograph("chelsea.png", "Chelsea the cat, photograph by Stefan van der Walt: CC0"),
    "coffee": Photograph("coffee.png", "photograph by Rachel Michetti, Pikolo Espresso Bar: CC0"),
    "galaxies": Photograph("hubble_deep_field.jpg", "Hubble eXtreme Deep Field, NASA: public domain"),
    "retina": Photograph("retina.jpg", "Fundus photograph by Mikael Häggström, Wikimedia Commons: CC0"),
    "rocket": Photograph("rocket.jpg", "DSCOVR on Falcon 9, SpaceX: public domain"),
}

# Outlines, (x, y) as shares of width and height: rough for people, where GrabCut finds the edges; exact otherwise.
ASTRONAUT: Outline = [
    (.05, 1), (.06, .8), (.04, .62), (.1, .5), (.22, .42), (.25, .3), (.33, .28), (.3, .2), (.31, .1), (.38, .03),
    (.5, .05), (.58, .12), (.58, .22), (.52, .3), (.58, .38), (.6, .48), (.68, .54), (.7, .66), (.78, .66),
    (.9, .7), (.97, .8), (.99, 1)]
HELMET: Outline = [
    (.54, 1), (.55, .85), (.6, .75), (.67, .69), (.75, .67), (.85, .69), (.93, .76), (.98, .88), (1, 1)]
CAMERAMAN: Outline = [
    (0, 1), (0, .5), (.1, .32), (.2, .24), (.31, .2), (.33, .14), (.4, .12), (.48, .16), (.52, .22), (.51, .27),
    (.63, .27), (.64, .36), (.62, .44), (.56, .46), (.6, .58), (.5, .62), (.4, .6), (.3, .74), (.3, 1), (.22, 1),
    (.19, .9), (.17, 1)]
CAMERA: Outline = [(.505, .27), (.64, .265), (.65, .34), (.62, .4), (.52, .36)]
CUP: Outline = [
    (.288, .27), (.295, .2), (.32, .135), (.36, .085), (.42, .055), (.48, .045), (.54, .055), (.6, .085), (.645, .135),
    (.67, .2), (.68, .27), (.675, .37), (.66, .45), (.63, .52), (.585, .59), (.52, .625), (.44, .62), (.375, .585),
    (.335, .51), (.305, .42), (.29, .34)]
ROCKET: Outline = [
    (.485, .95), (.485, .5), (.487, .36), (.494, .315), (.503, .295), (.512, .315), (.519, .36), (.521, .5),
    (.521, .95)]


def load_photograph(name: str) -> np.ndarray:
    """A photograph as (H, W, 3) float32 in [0, 1], longer side at most 480.

    Raises:
        UserError: the installed scikit-image does not include it.
    """
    path = Path(skimage.data.__file__).parent / PHOTOGRAPHS[name].file
    if not path.is_file():
        raise UserError(f"scikit-image carries no {path.name} in {path.parent}; install another release of it")
    pixels = read_picture(path).pixels
    pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    height, width = pixels.shape[:2]
    scale = min(1.0, LONG_SIDE / max(height, width))
    size = (round(width * scale), round(height * scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def infrared_visible(photographs: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(infrared (H, W), visible (H, W, 3)) by name: people, a cup and a rocket by night or in fog."""
    astronaut, camera, coffee, rocket = (photographs[name] for name in ("astronaut", "camera", "coffee", "rocket"))
    person = simulate.object_mask(astronaut, ASTRONAUT)
    face = simulate.soft_region(simulate.ellipse((.44, .255), (.075, .095)), astronaut.shape[:2], 5) * person
    helmet = simulate.soft_region(HELMET, astronaut.shape[:2], 1)
    man = simulate.object_mask(camera, CAMERAMAN, 0.02)
    head = simulate.soft_region(simulate.ellipse((.43, .285), (.065, .085)), camera.shape[:2], 6) * man
    device = simulate.soft_region(CAMERA, camera.shape[:2], 2) * man
    cup = simulate.soft_region(CUP, coffee.shape[:2], 0.8)
    drink = simulate.soft_region(simulate.ellipse((.49, .37), (.155, .14)), coffee.shape[:2], 1.5)
    tower = simulate.soft_region(ROCKET, rocket.shape[:2], 0.8)
    return {
        "astronaut": (simulate.thermal(astronaut, [(person, .55), (helmet, .28), (face, .85)], 1),
                      simulate.dim(astronaut, .16, 1)),
        "camera": (simulate.thermal(camera, [(man, .42), (device, .3), (head, .88)], 2),
                   simulate.haze(camera, .6, .22)),
        "coffee": (simulate.thermal(coffee, [(cup, .6), (drink, .95)], 3), simulate.dim(coffee, .16, 3)),
        "rocket": (simulate.thermal(rocket, [(tower, .8)], 4), simulate.dim(rocket, .35, 4)),
    }


def exposures(photographs: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(under, over) by name: scenes lit from one side, exposed for the bright and for the dark end."""
    light = {"cat": ((1, -.3), 1.6, 1.5), "coffee": ((-.6, -1), 1.6, 1.5), "rocket": ((0, -1), -1.2, 1.8)}
    return {
        name: simulate.bracket(image, simulate.slope(image.shape[:2], towards, depth), stops)
        for name, (towards, depth, stops) in light.items() for image in [photographs[name]]
    }


def focus_settings(photographs: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(near sharp, far sharp) by name."""
    astronaut, camera, coffee = (photographs[name] for name in ("astronaut", "camera", "coffee"))
    near = {
        "astronaut": simulate.object_mask(astronaut, ASTRONAUT),
        "camera": simulate.object_mask(camera, CAMERAMAN, 0.02),
        "coffee": simulate.soft_region(CUP, coffee.shape[:2], 0.8),
    }
    return {name: simulate.focus_pair(photographs[name], mask, 4.5) for name, mask in near.items()}


def write_demo(out: Path) -> list[Path]:
    """Write the demo set.

    Args:
        out: folder for ivf/{ir,vi}/<stem>.png, mef/input/<scene>/{over,under}.png, mff/input/<scene>/{a,b}.png,
            photos/<name>.png (for a small training run) and README.txt. Existing files are replaced.

    Returns:
        The files written.

    Raises:
        UserError: a photograph is missing or the folder cannot be written.
    """
    _make_folder(out)
    photographs = {name: load_photograph(name) for name in PHOTOGRAPHS}
    layout: dict[str, Callable[[str], tuple[str, str]]] = {
        "ivf": lambda stem: (f"ivf/ir/{stem}.png", f"ivf/vi/{stem}.png"),
        "mef": lambda stem: (f"mef/input/{stem}/under.png", f"mef/input/{stem}/over.png"),
        "mff": lambda stem: (f"mff/input/{stem}/a.png", f"mff/input/{stem}/b.png"),
    }
    pictures = {f"photos/{name}.png": image for name, image in photographs.items()}
    for task, make in (("ivf", infrared_visible), ("mef", exposures), ("mff", focus_settings)):
        for stem, pair in make(photographs).items():
            pictures.update(zip(layout[task](stem), pair))
    try:
        written = [_write(out / name, image) for name, image in pictures.items()]
        with atomic_write(out / "README.txt") as temporary:
            temporary.write_text(_readme(), encoding="utf-8")
    except OSError as error:
        raise _cannot_write(out, error) from error
    return [*written, out / "README.txt"]


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(out, error) from error


def _cannot_write(out: Path, error: OSError) -> UserError:
    return UserError(f"{out}: the demo pictures cannot be written ({error.strerror or error}); "
                     "choose a folder you may write to")


def _write(path: Path, image: np.ndarray) -> Path:
    pixels = simulate.to_bytes(image)
    write_picture(path, pixels[..., None] if pixels.ndim == 2 else pixels)
    return path


def _readme() -> str:
    lines = [f"  photos/{name}.png: {photograph.licence}" for name, photograph in PHOTOGRAPHS.items()]
    return "\n".join([
        "Demo pictures for image fusion: SIMULATED pairs, not camera pairs.",
        "",
        "  ivf/ir, ivf/vi    thermal-like and visible (night or fog): a remapping of the photograph with warm objects",
        "  mef/input/*       under- and over-exposed: an exposure curve over a scene with uneven light",
        "  mff/input/*       near (a) and far (b) in focus: a disk blur of one side of an outline",
        "  photos/           the photographs themselves, for a small training",
        "",
        "Made by `python -m data.demo` from photographs that scikit-image carries (licences by its documentation),",
        f"longer side at most {LONG_SIDE} pixels:",
        "",
        *lines,
        "",
    ])


def main(arguments: list[str]) -> None:
    """Command line of `python -m data.demo`."""
    parser = argparse.ArgumentParser(prog="python -m data.demo", description="Make the simulated demo pictures.")
    parser.add_argument("out", type=Path, help="folder to write to")
    out = parser.parse_args(arguments).out
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    log.info("%d files in %s", len(write_demo(out)), out)


if __name__ == "__main__":
    run(main)
