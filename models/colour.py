"""Which channels of two pictures are fused, and whose colour the result has."""

from torch import Tensor

from utils.pictures.images import luma, rgb_to_ycbcr


def default_color(task: str | None, x1: Tensor, x2: Tensor) -> str:
    colours = {x1.shape[0], x2.shape[0]}
    if colours == {1}:
        return "gray"
    if task == "IVF" or (task is None and colours == {1, 3}):
        return "ycbcr"
    return "rgb"


def as_rgb(x: Tensor) -> Tensor:
    return x.expand(3, -1, -1) if x.shape[0] == 1 else x


def as_grey(x: Tensor) -> Tensor:
    return x if x.shape[0] == 1 else luma(x)


def merge_chroma(x1: Tensor, x2: Tensor) -> Tensor:
    """Cb and Cr (2, H, W): the second (visible) picture's if it has colour, else the first's."""
    return rgb_to_ycbcr(x2 if x2.shape[0] == 3 else x1)[1:]
