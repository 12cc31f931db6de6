"""Loads and checks the labelled sets given in an option file."""

import logging
from pathlib import Path

from data.boxed import BoxedFolder, check_boxes
from data.boxes import list_boxes
from data.labelled import LabelledFolder, find_labelled
from data.labels import check_labels, refuse
from data.lists import read_list
from option.schema import Options, PairDataOptions, TrainDataOptions
from utils.errors import UserError
from utils.pictures.codecs import list_pictures
from utils.pictures.picture import Role
from utils.pictures.reading import ReadingRule

log = logging.getLogger(__name__)


def training_set(options: Options) -> LabelledFolder:
    """The scenes of ``dataset.train``.

    Raises:
        UserError: a key or folder is missing, or files cannot be used; lists them.
    """
    data = options.require("dataset.train")
    stems = _listed(data.irvis_trainpairs, options.at("dataset.train.irvis_trainpairs"))
    return _labelled(options, "dataset.train", data, data.irvis_dataroot, stems)


def scored_set(options: Options, part: str, *, check: bool = True) -> LabelledFolder:
    """The scenes of ``dataset.val`` or ``dataset.test``.

    Args:
        options: options of the run.
        part: "val" or "test".
        check: read all labels; not needed again for labels that a run has been scored with.

    Raises:
        UserError: as ``training_set``.
    """
    data = options.require(f"dataset.{part}")
    stems = _listed(data.pairs, options.at(f"dataset.{part}.pairs"))
    return _labelled(options, f"dataset.{part}", data, data.dataroot, stems, check)


def _listed(path: str | None, where: str) -> set[str] | None:
    """The stems in a list, one a line; a suffix or folder before or after them is ignored. None without a list."""
    if path is None:
        return None
    if not Path(path).is_file():
        raise UserError(f"{where}: no list {path}; give a text file with one stem a line, or leave it out")
    return {Path(line).stem for line in read_list(Path(path))}


def _labelled(options: Options, where: str, data: TrainDataOptions | PairDataOptions, root: str | None,
              stems: set[str] | None, check: bool = True) -> LabelledFolder:
    """The scenes of one section.

    Args:
        options: options of the run.
        where: key of the section.
        data: the section.
        root: folder of the set.
        stems: the wanted scenes; None for all.
        check: read all labels.
    """
    settings = options.downstream
    needed = {"irvis_dataroot" if isinstance(data, TrainDataOptions) else "dataroot": root,
              "label_name": data.label_name, "visible_name": data.visible_name, "infrare_name": data.infrare_name}
    if settings.input == "picture":
        needed = {key: value for key, value in needed.items() if key != "infrare_name"}
        if data.picture_root:
            del needed["visible_name"]
    missing = [key for key, value in needed.items() if not value]
    if missing:
        raise UserError(f"{options.at(where)}: {', '.join(missing)} missing; labelled scenes need "
                        f"{', '.join(needed)}")
    folders, roles = _pictures(settings.input == "picture", data, Path(root))
    problems: list[str] = []
    boxes = settings.task == "detection"
    scenes = find_labelled(folders, Path(root) / data.label_name, problems, stems,
                           list_labels=list_boxes if boxes else list_pictures)
    if check:
        problems += check_boxes(scenes, settings.classes) if boxes else check_labels(scenes, len(settings.classes))
    refuse(problems, options.at(where))
    if not scenes:
        raise UserError(f"{options.at(where)}: no labelled scene in {root}; see docs/DATA.md for the layout")
    log.info("%s: %d labelled scenes, pictures of %s", where, len(scenes), " and ".join(map(str, folders)))
    given = scenes, roles, settings.short_side, ReadingRule.of(data)
    return BoxedFolder(*given, classes=settings.classes) if boxes else LabelledFolder(*given)


def _pictures(single: bool, data: TrainDataOptions | PairDataOptions, root: Path) -> tuple[list[Path], list[Role]]:
    """Folders of the pictures, and their roles."""
    infrared = root / data.infrare_name if data.infrare_name else None
    if not single:
        return [infrared, root / data.visible_name], ["infrared", "visible"]
    folder = Path(data.picture_root) if data.picture_root else root / data.visible_name
    return [folder], ["infrared" if folder == infrared else "none"]
