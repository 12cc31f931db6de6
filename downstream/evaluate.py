"""Score a trained segmenter or detector on labelled pictures.

    python -m downstream.evaluate -opt option/downstream/Seg_MSRS.yaml
    python -m downstream.evaluate -opt ... --set path.resume_state=experiments/Seg_MSRS/checkpoints/step-00001000.pt

Without path.resume_state the newest checkpoint of the run is scored. Results go to results/<name>/.
"""

if __name__ == "__main__":
    from utils.cli import leave_at_once_when_stopped
    leave_at_once_when_stopped()  # while the libraries below load

import json
import logging
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from data.boxed import BoxedFolder
from data.labelled import LabelledFolder
from data.labels import read_label
from downstream.detection import DetectionMeter
from downstream.networks import network_from_options
from downstream.scores import SegmentationMeter, SegmentationScores, draw_confusion
from downstream.sets import scored_set
from models.weight_files import weight_checksum
from option.load import options_from_command_line
from option.schema import Options
from utils.cli import run
from utils.distributed import choose_device
from utils.engine.checkpoints import BrokenCheckpoint, CheckpointFolder, read_checkpoint
from utils.engine.state import averaged_weights
from utils.errors import UserError
from utils.files import archive_if_exists, atomic_write
from utils.logging import log_notes, set_up_logging
from utils.precision import autocast, autocast_dtype
from utils.version import provenance_of

log = logging.getLogger(__name__)


@torch.no_grad()
def segment(model: nn.Module, pictures: Tensor, size: tuple[int, int], amp: str = "off") -> Tensor:
    """Class ids (H, W) uint8 on the CPU.

    Args:
        model: maps pictures to logits, in eval mode.
        pictures: (3P, h, w) ``uint8`` on the model's device.
        size: (H, W) of the result.
        amp: "auto", "bf16" or "off".
    """
    with autocast(autocast_dtype(amp, pictures.device), pictures.device):
        logits = model(pictures[None].float() / 255)
    return F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)[0].argmax(0).byte().cpu()


def score(model: nn.Module, scenes: LabelledFolder, classes: int, device: torch.device, *, amp: str = "off",
          silent: bool = False) -> tuple[SegmentationScores, dict[str, SegmentationScores]]:
    """Scores of all scenes together, and of each scene by its stem.

    Args:
        model: in eval mode, on the device.
        scenes: pictures and labels; scores refer to the size of the labels.
        classes: number of classes.
        device: device of the model.
        amp: "auto", "bf16" or "off".
        silent: no progress bar.
    """
    meter, single = SegmentationMeter(classes), {}
    for index, scene in enumerate(tqdm(scenes.scenes, unit="picture", desc="score", disable=silent)):
        label = torch.from_numpy(read_label(scene.label))
        found = segment(model, scenes.pictures(index).to(device), tuple(label.shape), amp)
        single[scene.stem] = meter.add(found, label)
    return meter.scores(), single


@torch.no_grad()
def score_boxes(model: nn.Module, scenes: BoxedFolder, device: torch.device, *, amp: str = "off",
                silent: bool = False) -> dict[str, float]:
    """Scores of a detector, by name.

    Args:
        model: in eval mode, on the device.
        scenes: pictures and boxes.
        device, amp, silent: as in ``score``.
    """
    meter = DetectionMeter(scenes.classes)
    for index in tqdm(range(len(scenes)), unit="picture", desc="score", disable=silent):
        scene = scenes.read(index)
        with autocast(autocast_dtype(amp, device), device):
            found = model([scene.pictures.to(device).float() / 255])[0]
        meter.add(found, {"boxes": scene.corners, "labels": scene.classes})
    return meter.numbers()


def trained_network(options: Options) -> tuple[nn.Module, Path]:
    """The network with the weights of a checkpoint (its moving average, if any), in eval mode, and the file.

    Raises:
        UserError: no checkpoint, a broken one, or one of another network.
    """
    path = Path(options.path.resume_state or "latest")
    if path == Path("latest"):
        folder = CheckpointFolder(Path(options.path.experiments_root) / options.name / "checkpoints")
        path = folder.newest()
        if path is None:
            raise UserError(f"no checkpoint in {folder.folder}; train first, or give path.resume_state a file")
    try:
        state = read_checkpoint(path)
    except BrokenCheckpoint as error:
        raise UserError(f"{path}: {error}; give path.resume_state another checkpoint") from error
    model = network_from_options(options, start=False)
    try:
        model.load_state_dict(state["state_dict"])
    except RuntimeError as error:
        raise UserError(f"{path}: is of another network ({str(error).splitlines()[1].strip()}); give the options that "
                        "it was trained with") from error
    average = averaged_weights(state, model, path)
    if average:
        model.load_state_dict(average)
    return model.eval(), path


def result_folder(options: Options) -> Path:
    """Make ``results/<name>``; an older folder is archived."""
    folder = Path(options.path.results_root) / options.name
    archive_if_exists(folder)
    folder.mkdir(parents=True)
    return folder


def write_scores(folder: Path, options: Options, checkpoint: Path, numbers: dict[str, float], **more: Any) -> None:
    """Write ``scores.json``: provenance, scores, and ``more``."""
    origin = provenance_of(options, model=options.downstream.input, weights=weight_checksum(checkpoint),
                           device=options.device)
    content = {**origin, "checkpoint": str(checkpoint), "scores": _defined(numbers), **more}
    with atomic_write(folder / "scores.json") as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def table(numbers: dict[str, float]) -> str:
    """Scores in percent, one per line."""
    width = max(map(len, numbers))
    return "".join(f"{name:<{width}}  {f'{100 * value:6.2f}' if value == value else '     -'}\n"
                   for name, value in numbers.items())


def _defined(numbers: dict[str, float]) -> dict[str, float | None]:
    """Replace NaN by None, as JSON has no NaN."""
    return {name: value if value == value else None for name, value in numbers.items()}


def main(arguments: list[str]) -> None:
    """Read the options, score, and print the table."""
    options = options_from_command_line(arguments, __doc__)
    set_up_logging()
    log_notes(options)
    scenes = scored_set(options, "test")
    device = choose_device(options.device)
    model, checkpoint = trained_network(options)
    model.to(device)
    if isinstance(scenes, BoxedFolder):
        numbers, more = score_boxes(model, scenes, device, amp=options.train.amp), {}
    else:
        classes = options.downstream.classes
        total, single = score(model, scenes, len(classes), device, amp=options.train.amp)
        numbers = total.numbers(classes)
        more = {"confusion": total.confusion.tolist(),
                "pictures": {stem: _defined(scores.numbers(classes)) for stem, scores in single.items()}}
    folder = result_folder(options)
    write_scores(folder, options, checkpoint, numbers, **more)
    if "confusion" in more:
        draw_confusion(total.confusion, classes, folder / "confusion.png")
    sys.stdout.write(table(numbers))
    log.info("%d pictures, weights of %s: %s", len(scenes), checkpoint, folder)


if __name__ == "__main__":
    run(main)
