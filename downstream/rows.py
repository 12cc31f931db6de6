"""The runs of a comparison: the options of each row and seed, and their digest."""

import functools
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from downstream.mirror import PICTURES, fuser_of, is_whole, pairs_of, write_mirror
from downstream.sets import scored_set, training_set
from metrics.ranking import file_name
from models.registry import MODELS
from models.weight_files import find_weights, weight_checksum
from option.load import changed_options
from option.schema import Options, RowOptions
from utils.errors import UserError

log = logging.getLogger(__name__)

_SHORT = 8  # digits of a checksum or digest in a file name
# Keys that do not influence scores.
_WITHOUT_INFLUENCE = {"name": True, "device": True, "use_tb_logger": True, "logger": True, "metrics": True,
                      "save": True, "path": {"experiments_root", "results_root", "resume_state"},
                      "downstream": {"compare"}}


@dataclass(frozen=True)
class Run:
    """One row with one seed.

    Attributes:
        row: name of the row.
        seed: the seed.
        options: complete options of the run; its folder is named by row, seed and digest.
        digest: hash of all that determines the scores: options, weights.
        origin: checksums of weights and what else is worth knowing about the pictures, by name.
    """

    row: str
    seed: int
    options: Options
    digest: str
    origin: dict[str, str]

    @property
    def name(self) -> str:
        """Name of the run's files."""
        return f"{file_name(self.row)}.{self.seed}.{self.digest[:_SHORT]}"


def results_of(options: Options) -> Path:
    """Folder of a comparison."""
    return Path(options.path.results_root) / options.name


def record_path(options: Options, run: Run) -> Path:
    """File of a run's record; the folder of that name holds the predicted class ids of a segmentation."""
    return results_of(options) / "runs" / f"{run.name}.json"


def runs_of(options: Options) -> list[Run]:
    """All runs of a comparison: each row with the first seed, then each row with the second, ...

    Raises:
        UserError: no rows, a key that does not exist, or missing weights or folders.
    """
    compare = options.downstream.compare
    if not compare.rows:
        raise UserError(f"{options.at('downstream.compare.rows')}: no rows; see option/downstream/Compare_MSRS.yaml")
    return [_run(options, name, row, seed) for seed in compare.seeds for name, row in compare.rows.items()]


def _run(options: Options, name: str, row: RowOptions, seed: int) -> Run:
    where = f"{options.at('downstream.compare.rows')}.{name}"
    changes, origin = dict(row.options), {}
    folders = None
    if row.fuse:
        folders = {part: folder / PICTURES for part, folder in mirrors_of(options, row.fuse).items()}
        origin = _weights_of("fuse", row.fuse)
    elif row.pictures == "infrared":
        folders = {part: root / str(getattr(options.dataset, part).infrare_name)
                   for part, root in _roots(options).items()}
    elif row.pictures:
        folders = {part: Path(row.pictures) / part for part in _roots(options)}
        missing = [str(folder) for folder in folders.values() if not folder.is_dir()]
        if missing:
            raise UserError(f"{where}.pictures: no folder {' and '.join(missing)}; put the pictures there")
        origin["pictures"] = row.pictures
    for part, folder in (folders or {}).items():
        changes[f"dataset.{part}.picture_root"] = str(folder)
    changes["train.manual_seed"] = seed
    made = changed_options(options, changes, where)
    if made.downstream.input == "features" and made.path.pretrain_model_G:
        origin |= _weights_of("features", made.path.pretrain_model_G)
    # without defaults, so that a new key of a later version leaves finished runs valid
    kept = made.model_dump(mode="json", exclude=_WITHOUT_INFLUENCE, exclude_defaults=True)
    digest = hashlib.sha256(json.dumps([kept, origin], sort_keys=True).encode()).hexdigest()
    run = Run(name, seed, made, digest, origin)
    path = made.path.model_copy(update={"experiments_root": str(Path(options.path.experiments_root) / options.name)})
    return Run(name, seed, made.model_copy(update={"name": run.name, "path": path}), digest, origin)


def _weights_of(key: str, name: str) -> dict[str, str]:
    """Name and checksum of weights; only the name of a model without weights."""
    if key == "fuse" and name in MODELS.names():
        return {key: name}
    path = find_weights(name)
    return {key: name, f"{key} sha256": _checksum(path, path.stat().st_mtime_ns)}


@functools.lru_cache(maxsize=32)
def _checksum(path: Path, _changed: int) -> str:
    """Checksum of a file, read once for all runs of a table."""
    return weight_checksum(path)


def mirrors_of(options: Options, fuse: str) -> dict[str, Path]:
    """Mirror folders of ``train`` and ``test`` for a method. Their names have the checksum of the weights and a hash of
    the folders that were fused, so that comparisons share them and other weights get others."""
    method = "-".join([file_name(Path(fuse).stem), *(value[:_SHORT] for key, value in _weights_of("fuse", fuse).items()
                                                     if key.endswith("sha256"))])
    folders = {}
    for part, root in _roots(options).items():
        data = getattr(options.dataset, part)
        sources = json.dumps([str(root.resolve()), data.infrare_name, data.visible_name, data.range,
                              data.ir_range, data.range_joint])
        mark = hashlib.sha256(sources.encode()).hexdigest()[:_SHORT]
        folders[part] = Path(options.path.results_root) / "fused" / method / f"{root.name}-{mark}"
    return folders


def _roots(options: Options) -> dict[str, Path]:
    """The folders of the two sets."""
    roots = {"train": options.require("dataset.train").irvis_dataroot, "test": options.require("dataset.test").dataroot}
    if not roots["train"]:
        raise UserError(f"{options.at('dataset.train.irvis_dataroot')}: missing; a comparison needs it")
    return {part: Path(root) for part, root in roots.items()}


def make_pictures(options: Options, fuse: str) -> None:
    """Fuse the pairs of both sets by a method, as far as that is not done yet.

    Raises:
        UserError: bad labels, missing keys, or pictures that cannot be read.
    """
    pairs, fuser = pairs_of(options), None
    sets = {"train": training_set(pairs), "test": scored_set(pairs, "test")}
    for part, folder in mirrors_of(options, fuse).items():
        if not is_whole(folder, sets[part]):
            fuser = fuser or fuser_of(fuse, options.device)
            log.info("%s: %d pairs by %s in %s", part, len(sets[part]), fuse, write_mirror(sets[part], fuser, folder))
