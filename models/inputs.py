"""What a user gives to the fuser, as unit pictures, and results in the type of what was given."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from utils.errors import UserError
from utils.pictures.images import Picture, from_unit, read_picture, to_unit

Source = str | Path | Picture | np.ndarray | Tensor


@dataclass
class Input:
    """A source as a unit picture (C, H, W), and what its result should look like.

    Attributes:
        kind: "stored" (8 or 16 bit), "float" (an array) or "tensor".
    """

    unit: Tensor
    kind: str
    name: str
    bit_depth: int = 8


def read_source(source: Source) -> Input:
    if isinstance(source, (str, Path)):
        source = read_picture(source)
    if isinstance(source, np.ndarray) and source.dtype.kind != "f":
        source = Picture(source[..., None] if source.ndim == 2 else source)
    if isinstance(source, Picture):
        name = str(source.path or "the array")
        return Input(torch.from_numpy(to_unit(source)), "stored", name, source.bit_depth)
    if isinstance(source, np.ndarray):
        unit = torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.atleast_3d(source), -1, 0)))
        kind = "float"
    else:
        unit, kind = source.unsqueeze(0) if source.ndim == 2 else source, "tensor"
    if unit.ndim != 3 or unit.shape[0] not in (1, 3) or not unit.is_floating_point():
        raise UserError(f"fuse: {kind} input of shape {tuple(source.shape)} and {source.dtype}; give one picture with "
                        "one or three channels: arrays (H, W, C), tensors (C, H, W) as float in [0, 1]")
    return Input(unit, kind, f"the {kind} input")


def restore(value: Tensor, inputs: list[Input]) -> np.ndarray | Tensor:
    """A unit picture (C, H, W) in the type of the inputs."""
    if any(item.kind == "tensor" for item in inputs):
        return value
    array = value.cpu().numpy()
    if any(item.kind == "float" for item in inputs):
        return np.ascontiguousarray(array.transpose(1, 2, 0))
    return from_unit(array, max(item.bit_depth for item in inputs))


def check_sizes(x1: Tensor, x2: Tensor, inputs: list[Input]) -> None:
    sizes = [f"{x.shape[2]} x {x.shape[1]}" for x in (x1, x2)]
    if sizes[0] != sizes[1]:
        raise UserError(f"fuse: {inputs[0].name} is {sizes[0]} and {inputs[1].name} is {sizes[1]}; "
                        "register the pair and cut it to one size first")
    if min(x1.shape[1:]) < 16:
        raise UserError(f"fuse: {inputs[0].name} is {sizes[0]}; pictures need 16 x 16 pixels or more")
