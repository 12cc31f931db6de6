"""Temperatures on the command line: pictures of thermal cameras, shown as colour and kept in a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from app.files import Files
from app.task import Guess
from option.errors import did_you_mean
from utils.errors import UserError
from utils.pictures.alignment.apply import Margin
from utils.pictures.picture import Picture
from utils.pictures.thermal import PALETTES, Limits, ThermalScene, coloured, is_radiometric, read_thermal, with_bar

if TYPE_CHECKING:
    from app.jobs import Job

_PAIR = 2


@dataclass(frozen=True)
class Thermal:
    """What the command line says about temperatures.

    Attributes:
        limits: degrees Celsius that become black and white, or the ends of the palette; None: from each picture.
        palette: palette to show temperatures with; None: the fused picture as it is.
        bar: add a colour bar.
        keep: whether temperatures are kept in a file.

    Raises:
        UserError: an unknown palette, or a bar without one.
    """

    limits: Limits | None = None
    palette: str | None = None
    bar: bool = False
    keep: bool = False

    def __post_init__(self) -> None:
        if self.bar and not self.palette:
            raise UserError("--colour-bar is for colours; command line; give --palette, too")
        if self.palette not in (None, *PALETTES):
            raise UserError(f"--palette {self.palette}: no such palette {did_you_mean(self.palette, PALETTES)}; give "
                            f"one of {', '.join(PALETTES)}")

    @property
    def asked(self) -> str | None:
        """The first option that needs temperatures, if one is given."""
        wanted = {"--palette": self.palette, "--range": self.limits, "--temperatures": self.keep}
        return next((name for name, value in wanted.items() if value), None)

    def check(self, jobs: "Sequence[Job]") -> None:
        """Check that an option for temperatures finds some.

        Raises:
            UserError: no scene has temperatures.
        """
        if self.asked and jobs and not any(is_radiometric(path) for job in jobs for path in job.pictures):
            raise _cold(jobs[0], self.asked)

    def read(self, job: "Job", margin: Margin, files: Files) -> tuple[list[Picture], ThermalScene | None]:
        """Read the pictures of a scene; infrared and visible if one of them has temperatures.

        Args:
            job: the scene.
            margin: see `read_thermal`.
            files: how pictures without temperatures are read.

        Raises:
            UserError: a file cannot be read, or there are no temperatures although an option needs them.
        """
        scene, limits = None, self.limits or files.rule.value_range
        if len(job.pictures) == 1:
            scene = read_thermal(job.pictures[0], limits=limits, margin=margin)
        elif len(job.pictures) == _PAIR and job.task in (None, "IVF"):
            warm = [path for path in job.pictures if is_radiometric(path)]
            if len(warm) == 1 or (warm and job.task):
                photograph = job.pictures[1 - job.pictures.index(warm[0])]
                scene = read_thermal(warm[0], photograph, limits)
        if scene:
            return [scene.infrared, scene.visible], scene
        if self.asked:
            raise _cold(job, self.asked)
        return files.read(job), None

    def shown(self, fused: np.ndarray, celsius: np.ndarray, limits: Limits) -> np.ndarray:
        """The fused picture, with temperatures as colour if a palette is given.

        Args:
            fused: (H, W, 1 or 3), uint8 or uint16.
            celsius: (H, W).
            limits: degrees at the ends of the palette.
        """
        if not self.palette:
            return fused
        picture = coloured(fused, celsius, limits, self.palette)
        return with_bar(picture, limits, self.palette) if self.bar else picture


def as_guess(scene: ThermalScene) -> Guess:
    """The task of a scene with temperatures, and the reason."""
    own = scene.visible.path == scene.infrared.path
    low, high = scene.limits
    return Guess("IVF", (0, 1), f"{low:.1f} to {high:.1f} degrees Celsius, {'its own' if own else 'and a'} photograph")


def _cold(job: "Job", option: str) -> UserError:
    return UserError(f"no temperatures in {' or '.join(map(str, job.pictures[:_PAIR]))}; {option}; it is for "
                     "radiometric JPEGs of FLIR and DJI cameras, as the camera wrote them")
