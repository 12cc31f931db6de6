"""The work behind the web page: reads, aligns and fuses the pictures of a scene. Knows nothing of the page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import numpy as np

from app.align import Aligner
from app.fuse import make_fuser
from app.scene import with_roles
from app.task import Guess, decide_task
from app.web.strokes import Stroke, draw_maps
from metrics import COMMON, METRICS, compute
from models.external import Program
from models.fuser import Fuser, Fusion
from models.registry import MODELS
from models.weight_files import pretrained_names
from utils.errors import UserError
from utils.pictures.alignment import Alignment
from utils.pictures.content import Metadata
from utils.pictures.metadata import result_metadata
from utils.pictures.pairs import SMALLEST_SIDE
from utils.pictures.picture import Picture, metadata_of
from utils.pictures.profiles import in_one_space
from utils.pictures.reading import read_grey_or_rgb, read_picture

DEFAULT_MODEL = "defusionpp_hr"
_SAYS = {"defusionpp_hr": "ours, the default", "defusionpp_mixed": "the published network",
         "defusionpp_cud": "the published network, trained as published"}
_BETTER = {"higher": "more is better", "lower": "less is better", "nearest0": "best near 0"}

Progress = Callable[[float, str], object]


@dataclass(frozen=True)
class Limits:
    """What one scene may have.

    Attributes:
        pictures: number of pictures.
        megapixels: of all pictures together; one picture may have half of it.
    """

    pictures: int = 32
    megapixels: float = 50.0


@dataclass(frozen=True)
class Wish:
    """What to do with the pictures.

    Attributes:
        task: IVF, MEF, MFF, or None to find it.
        align: align the pictures first.
        model: one of :func:`model_choices`.
        strokes: where pictures must win.
        softness: see :func:`app.web.strokes.draw_maps`.
    """

    task: str | None = None
    align: bool = False
    model: str = DEFAULT_MODEL
    strokes: Sequence[Stroke] = ()
    softness: float = 0.02


@dataclass(frozen=True)
class Result:
    """A fused scene.

    Attributes:
        names: of the pictures, in the order of the task.
        order: for each of them, its place in the upload.
        pictures: aligned, 8 or 16 bit.
        fusion: the fused picture, and the components and weights that the model has.
        guess: the task and its reason.
        metadata: of the fused picture.
        moves: position of each picture in the reference; None for the reference and without alignment.
        doubts: remarks on the alignment.
    """

    names: list[str]
    order: tuple[int, ...]
    pictures: list[Picture]
    fusion: Fusion
    guess: Guess
    metadata: Metadata
    moves: Sequence[Alignment | None]
    doubts: list[str]


class Engine:
    """Fuses scenes, one at a time; keeps the models that were used.

    Args:
        device: device for ``Fuser``.
        limits: what one scene may have.
    """

    def __init__(self, device: str = "auto", limits: Limits | None = None) -> None:
        self.device, self.limits = device, limits or Limits()
        self._fusers: dict[str, Fuser] = {}

    def fuser(self, model: str) -> Fuser:
        """The fuser of a model.

        Raises:
            UserError: no such model.
        """
        if model not in self._fusers:
            self._fusers[model] = make_fuser(model, self.device)
        return self._fusers[model]

    def read(self, paths: Sequence[Path]) -> list[Picture]:
        """Read the pictures of a scene, within the limits.

        Raises:
            UserError: too few or too many pictures, or one that cannot be used.
        """
        limits = self.limits
        if len(paths) < 2:
            raise UserError(f"{len(paths)} picture{'s' * (not paths)}; give two or more pictures of one scene")
        if len(paths) > limits.pictures:
            raise UserError(f"{len(paths)} pictures; this page fuses up to {limits.pictures}; take some away")
        pictures, total = [], 0
        for path in paths:
            picture = read_picture(path, max_pixels=round(limits.megapixels * 5e5))
            if min(picture.size) < SMALLEST_SIDE:
                raise UserError(f"{path} is {_sized(picture)} pixels; pictures need {SMALLEST_SIDE} x {SMALLEST_SIDE} "
                                "or more")
            total += picture.size[0] * picture.size[1]
            if total > limits.megapixels * 1e6:
                raise UserError(f"these pictures have more than {limits.megapixels:g} megapixels together; shrink "
                                "them, or start the page with a larger --max-megapixels")
            pictures.append(picture)
        return pictures

    def fuse(self, paths: Sequence[Path], wish: Wish, say: Progress) -> Result:
        """Read, align and fuse a scene.

        Args:
            paths: the pictures, in the order of the upload.
            wish: what to do.
            say: called with the share of the work done and what comes next.

        Raises:
            UserError: the pictures cannot be read, aligned or fused.
        """
        say(0.0, "reading the pictures")
        pictures = self.read(paths)
        names = distinct_names(paths)
        guess = decide_task(wish.task, pictures, names)
        if guess.task == "IVF" and len(pictures) > 2:
            raise UserError(f"{len(pictures)} pictures; infrared and visible are fused as a pair; give these two, or "
                            "choose another kind")
        if not wish.align:
            _check_sizes(pictures, paths)
        say(0.2, "aligning" if wish.align else "fusing")
        resize = "error" if not wish.align else "second" if guess.task == "IVF" else "first"
        align = Aligner("auto" if wish.align else "none", resize, "crop", None, write=False)
        pictures = in_one_space(with_roles(pictures, guess))
        ordered, aligned = align([pictures[place] for place in guess.order])
        say(0.4, f"fusing with {wish.model}")
        maps = draw_maps(wish.strokes, guess.order, ordered[0].size, wish.softness)
        fusion = self.fuser(wish.model)(*ordered, task=guess.task, weights=True, prefer=maps)
        metadata = result_metadata(metadata_of(pictures), fusion.fused)
        return Result([names[place] for place in guess.order], guess.order, ordered, fusion, guess, metadata,
                      aligned.alignments, aligned.doubts)


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """File names, numbered where they are equal; folders of uploads say nothing."""
    names: list[str] = []
    for path in paths:
        same = sum(other.name == path.name for other in paths[:len(names)])
        names.append(f"{path.name} ({same + 1})" if same else path.name)
    return names


def _check_sizes(pictures: Sequence[Picture], paths: Sequence[Path]) -> None:
    for path, picture in zip(paths, pictures):
        if picture.size != pictures[0].size:
            raise UserError(f"{paths[0]} is {_sized(pictures[0])} pixels and {path} is {_sized(picture)}; tick "
                            "\"Align\", or give pictures of one size")


def _sized(picture: Picture) -> str:
    return f"{picture.size[0]} x {picture.size[1]}"


def model_choices(more: Sequence[str] = ()) -> list[tuple[str, str]]:
    """(label, model) for the page: ours, the published network, other weights, rules without weights, programs.

    Args:
        more: names or files of further weights.
    """
    shipped = sorted(pretrained_names(), key=lambda name: name != DEFAULT_MODEL)
    ready = {name: MODELS.get(name) for name in sorted(MODELS.names()) if not MODELS.get(name).traits.needs_weights}
    programs = [name for name, model in ready.items() if issubclass(model, Program)]
    rules = [name for name in ready if name not in programs]
    return [*((f"{name} ({_SAYS.get(name, 'shipped weights')})", name) for name in shipped),
            *((Path(name).name, name) for name in more),
            *((f"{name} (a rule without weights)", name) for name in rules),
            *((f"{name} (a program of others)", name) for name in programs if which(ready[name].program))]


@dataclass(frozen=True)
class Score:
    """One line of the table of metrics."""

    name: str
    value: float
    better: str
    says: str


def scores(first: Path, second: Path, fused: Path) -> list[Score]:
    """The common metrics of a fused pair, from 8-bit pictures of equal size."""
    values = compute(COMMON, *(read_grey_or_rgb(path) for path in (first, second, fused)))
    return [Score(name, value, _BETTER[METRICS[name].better], METRICS[name].says) for name, value in values.items()]


def parts(result: Result) -> list[tuple[str, np.ndarray]]:
    """(caption, picture) of the weights and of the components that the model has."""
    fusion, (first, second) = result.fusion, result.names[:2]
    found = [] if fusion.weights is None else [
        (f"weight of {name}", np.round(255 * weight).astype(np.uint8)[..., None])
        for name, weight in zip(result.names, fusion.weights)]
    components = (("common to both", fusion.common), (f"only in {first}", fusion.unique1),
                  (f"only in {second}", fusion.unique2))
    return found + [(caption, pixels) for caption, pixels in components if pixels is not None]
