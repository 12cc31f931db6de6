"""Runs a model on the pictures of one scene, of any size and number."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from models.decomposition import Decomposition
from models.protocol import Role, Task
from models.windows import MARGIN, pad_picture, run_windows
from option.schema import TileOptions

COMPONENTS = ("fused", "common", "unique1", "unique2")
SHARES = "shares"
_WHOLE = ("whole", "padded")  # models that take a picture as a whole


class Runner:
    """Runs a model.

    Args:
        model: see `models/protocol.py`.
        tile: windows for large pictures.
        precision: returns the context manager (autocast) for a model call.
    """

    def __init__(self, model: nn.Module, tile: TileOptions, precision: Callable[[], AbstractContextManager]) -> None:
        self.model, self.tile, self.precision = model, tile, precision

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[Tensor], *, roles: Sequence[Role] = (), task: Task = "none",
                 components: bool = True, shares: bool = False) -> dict[str, Tensor]:
        """Fuse pictures of one scene.

        A model for pairs fuses neighbours, then neighbouring results, until one picture is left.

        Args:
            pictures: two or more (3, H, W) in [0, 1].
            roles: role of each picture, for models that use them; empty if unknown.
            task: kind of scene, for models that use it.
            components: whether to compute common, unique1 and unique2; only for pairs.
            shares: whether to compute the overall weight of each picture, for models that have weights.

        Returns:
            The results by name, each (3, H, W) in [0, 1]; shares: (N, H, W).
        """
        traits = self.model.traits
        components = components and traits.has_components and len(pictures) == 2
        shares = shares and traits.has_weights
        names = (COMPONENTS if components else COMPONENTS[:1]) + (SHARES,) * shares
        keywords = {"roles": roles, "task": task, "components": components} if traits.roles else {}
        keywords |= {SHARES: True} if shares else {}

        def decompose(*batch: Tensor) -> Tensor:
            with self.precision():
                return _stacked(self.model.decompose(*batch, **keywords), names)

        if traits.many or len(pictures) == 2:
            result = self._whole(decompose, pictures, names)
        else:
            result = self._fold(decompose, list(pictures))
        sizes = [len(pictures) if name == SHARES else 3 for name in names]
        return dict(zip(names, result.clamp_(0, 1).split(sizes)))

    @torch.inference_mode()
    def batch(self, scenes: Sequence[Sequence[Tensor]], about: Sequence[tuple[Sequence[Role], Task]]) -> list[Tensor]:
        """Fuse several scenes; in one pass if the model takes whole pictures and the scenes are of one kind and size.

        Args:
            scenes: the pictures of each scene, (3, H, W) in [0, 1].
            about: roles and task of each scene.

        Returns:
            The fused pictures, each (3, H, W) in [0, 1].
        """
        traits, (roles, task) = self.model.traits, about[0]
        alike = len({(len(scene), scene[0].shape) for scene in scenes}) == len(set(about)) == 1
        at_once = traits.large in _WHOLE and (traits.many or len(scenes[0]) == 2)
        if len(scenes) == 1 or not (alike and at_once):
            return [self(scene, roles=own, task=kind, components=False)["fused"]
                    for scene, (own, kind) in zip(scenes, about)]
        keywords = {"roles": roles, "task": task, "components": False} if traits.roles else {}

        def decompose(*batch: Tensor) -> Tensor:
            with self.precision():
                return self.model.decompose(*batch, **keywords).fused.float()

        return list(self._at_once(decompose, [torch.stack(column) for column in zip(*scenes)]).clamp(0, 1))

    def _fold(self, decompose: Callable[..., Tensor], pictures: list[Tensor]) -> Tensor:
        """Fuse many pictures two at a time; an odd one is carried to the next round."""
        while len(pictures) > 1:
            rest = pictures[len(pictures) // 2 * 2:]
            pictures = [self._whole(decompose, pair, COMPONENTS[:1]).clamp(0, 1)
                        for pair in zip(pictures[::2], pictures[1::2])] + rest
        return pictures[0]

    def _at_once(self, decompose: Callable[..., Tensor], stacks: Sequence[Tensor]) -> Tensor:
        """The results (B, 3 K, H, W) of a model that takes pictures (B, 3, H, W) as a whole."""
        if self.model.traits.large == "whole":
            return decompose(*stacks)
        height, width = stacks[0].shape[-2:]
        return decompose(*map(pad_picture, stacks))[..., MARGIN : MARGIN + height, MARGIN : MARGIN + width]

    def _whole(self, decompose: Callable[..., Tensor], pictures: Sequence[Tensor], names: Sequence[str]) -> Tensor:
        """The K named results of a scene, concatenated along the channels, (3 K, H, W)."""
        model = self.model
        windows = {"size": self.tile.size, "overlap": self.tile.overlap, "batch": self.tile.batch}
        if model.traits.large in _WHOLE:
            return self._at_once(decompose, [picture.unsqueeze(0) for picture in pictures])[0]
        if model.traits.large == "windows":
            return run_windows(lambda x: decompose(*x.split(3, dim=1)), torch.cat(list(pictures)), **windows)

        def context(x: Tensor) -> Tensor:
            with self.precision():
                return model.context(*x.split(3, dim=1))

        maps = run_windows(context, torch.cat(list(pictures)), stride=model.map_stride, **windows)
        with self.precision():
            return _stacked(model.fuse(*(picture.unsqueeze(0) for picture in pictures), maps.unsqueeze(0)), names)[0]


def roles_of(task: Task | None, pictures: Sequence[Tensor]) -> tuple[tuple[Role, ...], Task]:
    """Roles and task for a model, from the user's task and the channels of the pictures.

    Args:
        task: "IVF" (infrared, visible), "MEF" or "MFF". If None, a grey and a colour picture count as infrared and
            visible, as in :func:`models.colour.default_color`.
        pictures: (C, H, W), with one channel if and only if the picture is grey.
    """
    if task == "IVF":
        return ("infrared", "visible", *("none" for _ in pictures[2:])), "IVF"
    channels = [x.shape[0] for x in pictures]
    if task is None and set(channels) == {1, 3}:
        return tuple("infrared" if count == 1 else "visible" for count in channels), "IVF"
    return (), task or "none"


def _stacked(out: Decomposition, names: Sequence[str]) -> Tensor:
    """The named parts, (B, 3, H, W) and shares (B, N, H, W), concatenated along the channels."""
    return torch.cat([getattr(out, name).float() for name in names], dim=1)
