"""Fuse a labelled set into a mirror folder, with its labels linked.

    python -m downstream.mirror -opt option/downstream/Seg_MSRS.yaml --fuse defusionpp_hr -o fused/ours

Writes ``fused/ours/train/`` and ``fused/ours/test/``: ``pictures/`` with a fused picture for each scene of
``dataset.train`` and ``dataset.test``, and a link to the folder of labels. A killed command continues.
"""

if __name__ == "__main__":
    from utils.cli import leave_at_once_when_stopped
    leave_at_once_when_stopped()  # while the libraries below load

import contextlib
import logging
import os
from pathlib import Path

from tqdm import tqdm

from data.labelled import LabelledFolder
from downstream.sets import scored_set, training_set
from models.fuser import Fuser
from models.registry import MODELS
from option.load import argument_parser, options_from_arguments
from option.schema import Options
from utils.cli import run
from utils.errors import UserError
from utils.logging import set_up_logging
from utils.pictures.reading import read_scene
from utils.pictures.writing import write_picture

log = logging.getLogger(__name__)

PICTURES = "pictures"


def fuser_of(name: str, device: str) -> Fuser:
    """The fuser of weights (name or file), or of a registered model that needs no weights.

    Raises:
        UserError: neither of these.
    """
    if name in MODELS.names() and not MODELS.get(name).traits.needs_weights:
        return Fuser(MODELS.create(name), device=device)
    return Fuser.from_pretrained(name, device=device)


def write_mirror(scenes: LabelledFolder, fuser: Fuser, folder: Path) -> Path:
    """Fuse the pairs of a set that are not yet fused in ``folder``, and link the labels.

    Args:
        scenes: pairs of infrared and visible.
        fuser: the method.
        folder: receives ``pictures/<stem>.png`` and a link to the folder of labels, under its name.

    Returns:
        The folder of the pictures.

    Raises:
        UserError: a picture cannot be read.
    """
    pictures = folder / PICTURES
    todo = [scene for scene in scenes.scenes if not (pictures / f"{scene.stem}.png").is_file()]
    for scene in tqdm(todo, unit="pair", desc=f"fuse by {fuser.name}", disable=not todo or None):
        infrared, visible = read_scene(scene.pictures, scenes.rule, scenes.roles)
        fused = fuser(infrared, visible, task="IVF", components=False).fused
        write_picture(pictures / f"{scene.stem}.png", fused)
    labels = _labels_of(scenes)
    with contextlib.suppress(FileExistsError):
        os.symlink(labels, folder / labels.name, target_is_directory=True)
    return pictures


def is_whole(folder: Path, scenes: LabelledFolder) -> bool:
    """Whether ``write_mirror`` has nothing to do."""
    return (folder / _labels_of(scenes).name).exists() and all(
        (folder / PICTURES / f"{scene.stem}.png").is_file() for scene in scenes.scenes)


def _labels_of(scenes: LabelledFolder) -> Path:
    return Path(scenes.scenes[0].label).parent.resolve()


def pairs_of(options: Options) -> Options:
    """The same options with the pairs as input, not pictures made of them."""
    data = options.dataset
    sections = {name: part.model_copy(update={"picture_root": None})
                for name in ("train", "val", "test") if (part := getattr(data, name))}
    settings = options.downstream.model_copy(update={"input": "early", "short_side": None})
    return options.model_copy(update={"dataset": data.model_copy(update=sections), "downstream": settings})


def main(arguments: list[str]) -> None:
    """Read the options and fuse."""
    parser = argument_parser(__doc__)
    parser.add_argument("--fuse", metavar="NAME", help="weights (name or file), or a model without weights; default: "
                                                       "the default weights")
    parser.add_argument("-o", "--out", required=True, metavar="FOLDER", help="the mirror folder")
    given = parser.parse_args(arguments)
    options = pairs_of(options_from_arguments(given))
    set_up_logging()
    sets = {name: read for name, read in (("train", training_set), ("test", lambda own: scored_set(own, "test")))
            if getattr(options.dataset, name)}
    if not sets:
        raise UserError(f"{options.at('dataset')}: neither train nor test; there is nothing to fuse")
    found = {name: read(options) for name, read in sets.items()}
    fuser = fuser_of(given.fuse, options.device) if given.fuse else Fuser.from_pretrained(device=options.device)
    for name, scenes in found.items():
        log.info("%d fused pictures in %s", len(scenes), write_mirror(scenes, fuser, Path(given.out) / name))


if __name__ == "__main__":
    run(main)
