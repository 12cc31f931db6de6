"""Exports a training checkpoint as weights for distribution.

    python -m models.export experiments/NAME/checkpoints/latest.pt pretrained/NAME.safetensors
    python -m models.export CHECKPOINT OUT.pth          # published layout and names, for other people's code
    python -m models.export defusionpp_hr OUT.onnx      # for programs without PyTorch, see docs/EXPORT.md

The safetensors file contains the inference weights in half precision, and metadata: model and keywords, training
settings and code version. The moving average of the weights is used if the run has one. An ONNX file can also be made
from weights: a file or a name.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from models.onnx_export import Precision, write_onnx
from models.protocol import TASKS, Task
from models.published import to_published
from models.registry import MODELS, model_from_options, present_name
from models.weight_files import find_weights, weight_checksum
from models.weights import load_state, save_weights
from models.zoo import load_model
from option.schema import Options
from utils.cli import run
from utils.engine.checkpoints import BrokenCheckpoint, read_checkpoint
from utils.engine.state import averaged_weights
from utils.errors import UserError
from utils.files import atomic_write
from utils.version import VERSION, commit

_KEPT = ("version", "commit", "options_hash")  # copied from the checkpoint, with images, step and epoch


def export(checkpoint: Path, out: Path, *, average: bool = True) -> dict[str, object]:
    """Write the weights of a checkpoint.

    Args:
        checkpoint: checkpoint of a training run.
        out: ``.safetensors`` (our layout) or ``.pth`` (published layout).
        average: use the moving average if there is one.

    Returns:
        The metadata of the file.

    Raises:
        UserError: not a complete checkpoint of a training run, or another suffix.
    """
    try:
        state = read_checkpoint(checkpoint)
    except BrokenCheckpoint as error:
        raise UserError(f"{checkpoint}: {error}; give a checkpoint of a training run") from error
    model, about = _model_of_run(state, checkpoint, average=average)
    if out.suffix == ".safetensors":
        save_weights(model, out, metadata=about)
    elif out.suffix in (".pth", ".pt"):
        if model.traits.training == "head":
            raise UserError(f"{out}: {about['model']} has no published layout; give .safetensors")
        with atomic_write(out) as temporary:
            torch.save({"state_dict": to_published(model.state_dict()), "epoch": about["epoch"]}, temporary)
    else:
        raise UserError(f"{out}: ending {out.suffix!r}; give .safetensors (ours), .pth (published layout) or .onnx")
    return about


def _model_of_run(state: dict[str, Any], checkpoint: Path, *, average: bool) -> tuple[nn.Module, dict[str, object]]:
    """The model of a checkpoint, and what an exported file says of it.

    Args:
        state: content of the checkpoint.
        checkpoint: its file.
        average: use the moving average if there is one.

    Raises:
        UserError: the checkpoint lacks something.
    """
    options = _options(state, checkpoint)
    model = model_from_options(options, **_teacher_widths(state["state_dict"]))
    load_state(model, state["state_dict"], checkpoint)
    averages = averaged_weights(state, model, checkpoint) if average else None
    averaged = averages is not None
    if averaged:
        load_state(model, state["state_dict"] | averages, checkpoint)
    keywords = getattr(options, model.traits.section).arguments()
    name, arguments = present_name(MODELS.get(options.model).__name__, keywords)
    return model, {
        "model": name, "network": arguments,
        "images_seen": state["images"], "steps": state["step"], "epoch": state["epoch"], "averaged": averaged,
        **{key: state[key] for key in _KEPT}, "training": _training(options),
    }


def export_onnx(source: str | Path, out: Path, *, average: bool = True, precision: Precision = "float32",
                tasks: Sequence[Task] = TASKS) -> None:
    """Write an ONNX file.

    Args:
        source: weights (a file or a name), or a checkpoint of a training run.
        out: the file.
        average: of a checkpoint, use the moving average if there is one.
        precision, tasks: see :func:`models.onnx_export.write_onnx`.

    Raises:
        UserError: unreadable weights, or a model that cannot be exported.
    """
    path = find_weights(source)
    try:
        model, _ = _model_of_run(read_checkpoint(path), path, average=average)
    except BrokenCheckpoint:  # weights, or a damaged file, which is found below
        model = load_model(path)
    about = {"version": VERSION, "commit": commit(), "weights": weight_checksum(path)}
    write_onnx(model, out, about, precision, tasks)


def _options(state: dict[str, Any], checkpoint: Path) -> Options:
    """The options stored in a checkpoint.

    Raises:
        UserError: options needed for the export are missing or unreadable.
    """
    lacking = [key for key in ("options", "images", *_KEPT) if key not in state]
    if lacking:
        raise UserError(f"{checkpoint}: lacks {', '.join(lacking)}; give a checkpoint of our training")
    try:
        return Options.model_validate(json.loads(state["options"]))
    except (TypeError, ValueError) as error:
        raise UserError(f"{checkpoint}: its options cannot be read ({str(error).splitlines()[0]})") from error


def _teacher_widths(state: dict[str, Tensor]) -> dict[str, object]:
    """Additional keywords of a stage 2 network: the widths of its teachers, which set those of its predictors."""
    widths = tuple(len(state[name]) for name in ("predict1.bias", "predict2.bias") if name in state)
    return {"teacher_widths": widths} if widths else {}


def _training(options: Options) -> dict[str, object]:
    """Training settings for the metadata, without local folders."""
    data = options.dataset.train
    return {"name": options.name, "image_size": data.image_size, "batch_size": data.batch_size,
            "train": options.train.model_dump(mode="json"), "synthesis": options.synthesis.model_dump(mode="json")}


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m models.export", description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, metavar="CHECKPOINT",
                        help="checkpoint of a training run; for .onnx also weights, a file or a name")
    parser.add_argument("out", type=Path, help=".safetensors (ours), .pth (published layout) or .onnx (ONNX Runtime)")
    parser.add_argument("--last", action="store_true", help="the last weights, even if a moving average was kept")
    parser.add_argument("--format", choices=["safetensors", "pth", "onnx"], help="by default from the ending of OUT")
    parser.add_argument("--precision", choices=get_args(Precision), default="float32",
                        help="of the weights in an .onnx file; default: float32")
    parser.add_argument("--task", choices=TASKS[1:],
                        help="what an .onnx file is for; by default all tasks, whose rules cost time in each of them")
    given = parser.parse_args(arguments)
    ending = given.out.suffix.removeprefix(".")
    if given.format not in (None, ending):
        raise UserError(f"{given.out}: --format {given.format} and the ending {given.out.suffix!r}; give one of them")
    if ending == "onnx":
        export_onnx(given.source, given.out, average=not given.last, precision=given.precision,
                    tasks=[given.task] if given.task else TASKS)
        about = {}
    elif given.precision != "float32" or given.task:
        raise UserError(f"{given.out}: --{'task' if given.task else 'precision'} is for .onnx; leave it out")
    else:
        about = export(given.source, given.out, average=not given.last)
    seen = f"{about['model']}, {about['images_seen']} images seen, " if about else ""
    print(f"{given.out}: {seen}{given.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main)
