"""Runs a model on the pictures of one scene, of any size and number; for models of PyTorch and of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from models.decomposition import Decomposition
from models.protocol import Model, Role, Task
from models.windows import MARGIN, pad_picture, run_grids, run_windows
from utils.arrays import as_float32, library_of

if TYPE_CHECKING:
    from option.schema import TileOptions
    from utils.arrays import Array

COMPONENTS = ("fused", "common", "unique1", "unique2")
SHARES = "shares"
_WHOLE = ("whole", "padded")  # models that take a picture as a whole


class Runner:
    """Runs a model.

    Args:
        model: see `models/protocol.py`.
        tile: windows for large pictures; None: as in :func:`models.windows.run_windows`.
        precision: returns the context manager (autocast) for a model call.
    """

    def __init__(self, model: Model, tile: TileOptions | None,
                 precision: Callable[[], AbstractContextManager]) -> None:
        self.model, self.precision = model, precision
        self.windows = {} if tile is None else {"size": tile.size, "overlap": tile.overlap, "batch": tile.batch}

    def __call__(self, pictures: Sequence[Array], *, roles: Sequence[Role] = (), task: Task = "none",
                 components: bool = True, shares: bool = False) -> dict[str, Array]:
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
        at_once = traits.many or len(pictures) == 2
        known = roles if at_once else ()  # results of a fold have none
        keywords = {"roles": known, "task": task, "components": components} if traits.roles else {}
        keywords |= {SHARES: True} if shares else {}
        result = self._whole(pictures, names, keywords) if at_once else self._fold(list(pictures), keywords)
        library_of(result).clip(result, 0, 1, out=result)
        return dict(zip(names, _split(result, [len(pictures) if name == SHARES else 3 for name in names])))

    def batch(self, scenes: Sequence[Sequence[Array]], about: Sequence[tuple[Sequence[Role], Task]]) -> list[Array]:
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

        def decompose(*batch: Array) -> Array:
            with self.precision():
                return as_float32(self.model.decompose(*batch, **keywords).fused)

        library = library_of(scenes[0][0])
        return list(self._at_once(decompose, [library.stack(column) for column in zip(*scenes)]).clip(0, 1))

    def _fold(self, pictures: list[Array], keywords: dict[str, Any]) -> Array:
        """Fuse many pictures two at a time; an odd one is carried to the next round."""
        while len(pictures) > 1:
            rest = pictures[len(pictures) // 2 * 2:]
            pictures = [self._whole(pair, COMPONENTS[:1], keywords).clip(0, 1)
                        for pair in zip(pictures[::2], pictures[1::2])] + rest
        return pictures[0]

    def _at_once(self, decompose: Callable[..., Array], stacks: Sequence[Array]) -> Array:
        """The results (B, 3 K, H, W) of a model that takes pictures (B, 3, H, W) as a whole."""
        if self.model.traits.large == "whole":
            return decompose(*stacks)
        height, width = stacks[0].shape[-2:]
        return decompose(*map(pad_picture, stacks))[..., MARGIN : MARGIN + height, MARGIN : MARGIN + width]

    def _whole(self, pictures: Sequence[Array], names: Sequence[str], keywords: dict[str, Any]) -> Array:
        """The K named results of a scene, concatenated along the channels, (3 K, H, W); keywords: of the model."""
        model, library = self.model, library_of(pictures[0])

        def decompose(*batch: Array) -> Array:
            with self.precision():
                return _stacked(model.decompose(*batch, **keywords), names)

        if model.traits.large in _WHOLE:
            return self._at_once(decompose, [picture[None] for picture in pictures])[0]
        if model.traits.large == "windows":
            return run_grids(lambda x: decompose(*_pictures(x)), library.concat(pictures),
                             grids=getattr(model, "grids", 1), **self.windows)

        def context(x: Array) -> Array:
            with self.precision():
                return model.context(*_pictures(x))

        maps = run_windows(context, library.concat(pictures), stride=model.map_stride, **self.windows)
        with self.precision():
            return _stacked(model.fuse(*(picture[None] for picture in pictures), maps[None], **keywords), names)[0]


def roles_of(task: Task | None, pictures: Sequence[Array]) -> tuple[tuple[Role, ...], Task]:
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


def _stacked(out: Decomposition, names: Sequence[str]) -> Array:
    """The named parts, (B, 3, H, W) and shares (B, N, H, W), concatenated along the channels."""
    parts = [as_float32(getattr(out, name)) for name in names]
    return library_of(parts[0]).concat(parts, 1)


def _pictures(x: Array) -> list[Array]:
    """(B, 3 N, H, W) -> N pictures (B, 3, H, W)."""
    return [x[:, start : start + 3] for start in range(0, x.shape[1], 3)]


def _split(x: Array, sizes: Sequence[int]) -> list[Array]:
    """Parts of (K, H, W) along the channels, of the given sizes."""
    return [x[stop - size : stop] for size, stop in zip(sizes, accumulate(sizes))]
