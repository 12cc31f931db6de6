"""Fuses pictures with a model: colour conversion, windows, network, blending, colour restoration.

    from models import Fuser
    fuse = Fuser.from_pretrained()
    fused = fuse("ir.png", "vi.png").fused
"""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from models.colour import COLORS, as_grey, as_rgb, default_color, known_word, merge_chroma
from models.inputs import Source, align_inputs, check_sizes, read_sources, restore, restore_map
from models.preferred import follow_preferred, read_maps
from models.protocol import TASKS
from models.registry import MODELS, model_from_options
from models.running import COMPONENTS, SHARES, Runner, roles_of
from models.weight_files import find_weights, pretrained_names, weight_checksum
from models.weights import load_weights
from models.zoo import model_of_weights
from option.schema import Options, TileOptions
from utils.distributed import choose_device
from utils.errors import UserError
from utils.memory import keep_freed_memory
from utils.pictures.alignment import Align, Alignment, AlignRule
from utils.pictures.alignment.apply import Margin, Resize
from utils.pictures.colour import luma
from utils.pictures.ycbcr import ycbcr_to_rgb
from utils.precision import autocast, autocast_dtype


@dataclass
class Fusion:
    """A fused picture and, for a pair, its components.

    Arrays are (H, W, C) in the type of the inputs (the deepest one). For tensor inputs they are float tensors
    (C, H, W) in [0, 1].

    Attributes:
        fused: the fused picture.
        common, unique1, unique2: components; None if the model has none or they were not requested.
        seconds: time from decoded and aligned inputs to the result.
        alignments: position of each picture in the reference, if alignment was requested; None for the reference.
        weights: overall weight of each picture at each pixel, (N, H, W) float32 summing to 1 over N; None if the model
            has none or they were not requested.
    """

    fused: np.ndarray | Tensor
    common: np.ndarray | Tensor | None
    unique1: np.ndarray | Tensor | None
    unique2: np.ndarray | Tensor | None
    seconds: float
    alignments: tuple[Alignment | None, ...] = ()
    weights: np.ndarray | Tensor | None = None


class Fuser:
    """Fuses pictures of any size with a registered model.

    Args:
        model: see `models/protocol.py` and CONTRIBUTING.md.
        device: "auto", "cpu", "cuda", ...
        color: "ycbcr" (fuse the luma; colour by :func:`models.colour.merge_chroma`), "rgb" or "gray". None: selected
            by the task or, without a task, by the pictures: ycbcr for grey with colour, rgb for colour with colour.
        tile: windows for large pictures.
        amp: "auto" (bf16 where it is native), "bf16" or "off".
        align: "auto", "translation", "affine" or "homography" aligns the pictures first (docs/ALIGNMENT.md).
        resize: "first" or "second": picture whose grid is used if sizes differ.
        align_margin: "crop" (cut aligned pictures to their common area) or "fill" (keep the size of the reference).
    """

    def __init__(self, model: nn.Module, *, device: str = "auto", color: str | None = None,
                 tile: TileOptions | None = None, amp: str = "auto", align: Align = "none", resize: Resize = "error",
                 align_margin: Margin = "crop") -> None:
        if model.traits.training == "pictures":
            raise UserError(f"{type(model).__name__} learns from single pictures and fuses nothing; give DeFusionPP")
        self.device = choose_device(device)
        self.model = model.to(self.device).eval()
        self.name = type(model).__name__
        self.color = known_word("color", color, COLORS)
        known_word("align", align, get_args(Align))
        known_word("resize", resize, get_args(Resize))
        known_word("align_margin", align_margin, get_args(Margin))
        self.align = AlignRule(align, resize, align_margin)
        self.tile = tile or TileOptions()
        self.dtype = autocast_dtype(amp, self.device)
        if self.device.type == "cpu":
            keep_freed_memory()  # mapping it anew took 40 % of the time of a pair of 1920 x 1080
        self.run = Runner(self.model, self.tile, self._autocast)
        self.checksum: str | None = None

    @classmethod
    def from_pretrained(cls, weights: str | Path | None = None, *, model: str | None = None,
                        network: dict[str, Any] | None = None, strict: bool = True, **kwargs: Any) -> "Fuser":
        """Build a fuser with shipped weights or with those of a file.

        Args:
            weights: a name such as "defusionpp_hr" (see ``models.list_models(pretrained=True)``), the path of a
                ``.safetensors`` file or a published checkpoint, or a Hugging Face repository, "owner/name" (needs
                ``huggingface_hub``); by default the best shipped weights.
            model: registered name; by default from the file, else ``DeFusionPP``.
            network: keywords of the model; by default from the file.
            strict: unknown names in the file are an error.
            **kwargs: arguments of ``Fuser``.

        Raises:
            UserError: missing or unreadable weights, or weights of another model; errors of ``Fuser``.
        """
        path = find_weights(weights)
        name, keywords = model_of_weights(path, model)
        return cls(MODELS.create(name, **network or keywords), **kwargs)._load(path, strict)

    @classmethod
    def from_options(cls, options: Options) -> "Fuser":
        """Build the fuser described by a test option file.

        Weights are ``path.resume_state``, else ``path.pretrain_model_G``. The model and its keywords are taken from
        the option file, or from the weights if not given there.

        Raises:
            UserError: unknown model or keyword, no weights for a model that needs them, or weights of another model.
        """
        settings = {"device": options.device, "color": options.color, "tile": options.tile, "amp": options.train.amp}
        asked = options.model if "model" in options.model_fields_set else None
        if asked and not MODELS.get(asked, where=options.at("model")).traits.needs_weights:
            return cls(model_from_options(options), **settings)
        weights = options.path.resume_state or options.path.pretrain_model_G
        if not weights:
            raise UserError(f"{options.at('path.resume_state')}: {options.model} needs weights; give a file, or one of "
                            f"{', '.join(pretrained_names())}")
        path = find_weights(weights)
        name, keywords = model_of_weights(path, asked)
        model = model_from_options(options.model_copy(update={"model": name}), **keywords)
        return cls(model, **settings)._load(path, options.path.strict_load)

    def _load(self, path: Path, strict: bool) -> "Fuser":
        """Load the weights of a file, store its checksum and return self."""
        load_weights(self.model, path, strict=strict)
        self.checksum = weight_checksum(path)
        return self

    @torch.inference_mode()
    def __call__(self, first: Source, second: Source, *more: Source, task: str | None = None,
                 color: str | None = None, components: bool = True, weights: bool = False,
                 prefer: np.ndarray | Tensor | None = None, bits: int | None = None) -> Fusion:
        """Fuse two or more registered pictures of one scene.

        Args:
            first, second, *more: paths; ``Picture``; PIL pictures; arrays (H, W) or (H, W, C), uint8, uint16 or float
                in [0, 1]; tensors (C, H, W), float in [0, 1]. Order: infrared, visible; over-, under-exposed; near,
                far. Three equal channels count as a grey picture.
            task: "IVF", "MEF" or "MFF" (any case); sets the default colour mode and, for models that use them, the
                roles of the pictures.
            color: overrides the fuser's ``color``.
            components: whether to compute common, unique1 and unique2; only for pairs.
            weights: whether to compute the overall weight of each picture, for models that have weights.
            prefer: (N, H, W) in [0, 1], where each picture must win, in the size of the result: 1 gives the pixels of
                that picture, values below blend it with the fused picture (`models/preferred.py`).
            bits: 8 or 16, of the result of files, PIL pictures and integer arrays; by default the deepest input's.

        Returns:
            The fusion. ``fused`` has three channels if any input has three, unless color is "gray".

        Raises:
            UserError: sizes differ, a picture is smaller than 16 x 16 or has invalid values, ``prefer`` does not fit,
                or an unknown word.
        """
        task, asked = known_word("task", task, TASKS[1:]), known_word("color", color, COLORS) or self.color
        inputs = read_sources((first, second, *more))
        alignments = align_inputs(inputs, self.align)
        check_sizes(inputs)
        maps = None if prefer is None else read_maps(prefer, len(inputs), inputs[0].unit.shape[1:]).to(self.device)
        start = time.perf_counter()
        units = [item.unit.to(self.device, torch.float32) for item in inputs]
        result = self._fuse(units, asked or default_color(task, *units), task, components, weights)
        shares = result.pop(SHARES, None)
        if maps is not None:
            result["fused"] = follow_preferred(result["fused"], units, maps)
            shares = None if shares is None else shares * (1 - maps.sum(dim=0)) + maps
        if asked != "gray" and any(item.channels == 3 for item in inputs):
            result["fused"] = as_rgb(result["fused"])
        pictures = {name: restore(value, inputs, bits) for name, value in result.items()}
        fusion = Fusion(**{name: pictures.get(name) for name in COMPONENTS}, seconds=0.0,
                        alignments=tuple(alignments) if any(alignments) else (),
                        weights=None if shares is None else restore_map(shares, inputs))
        fusion.seconds = time.perf_counter() - start
        return fusion

    @torch.inference_mode()
    def batch(self, scenes: Sequence[Sequence[Source]], *, task: str | None = None,
              color: str | None = None) -> list[np.ndarray | Tensor]:
        """Fuse scenes of one size at once, such as frames of a video.

        A model that takes a picture as a whole runs once for all; memory grows with the number of scenes.

        Args:
            scenes: pictures of each scene, as for a call.
            task, color: as for a call.

        Returns:
            The fused pictures.

        Raises:
            UserError: as for a call.
        """
        task, asked = known_word("task", task, TASKS[1:]), known_word("color", color, COLORS) or self.color
        read = [read_sources(scene) for scene in scenes]
        for inputs in read:
            align_inputs(inputs, self.align)
            check_sizes(inputs)
        units = [[item.unit.to(self.device, torch.float32) for item in inputs] for inputs in read]
        modes = [asked or default_color(task, *pictures) for pictures in units]
        roles = [roles_of(task, pictures) for pictures in units]
        results = self.run.batch([_seen(*one) for one in zip(units, modes)], roles)
        fused = [self._in_colour({"fused": result}, pictures, mode, task)["fused"]
                 for result, pictures, mode in zip(results, units, modes)]
        return [restore(as_rgb(one) if asked != "gray" and any(item.channels == 3 for item in inputs) else one, inputs)
                for one, inputs in zip(fused, read)]

    def _fuse(self, units: list[Tensor], mode: str, task: str | None, components: bool,
              shares: bool) -> dict[str, Tensor]:
        """Fuse pictures (C, H, W) in [0, 1]; returns the results in [0, 1] by name."""
        roles, kind = roles_of(task, units)
        result = self.run(_seen(units, mode), roles=roles, task=kind, components=components, shares=shares)
        return self._in_colour(result, units, mode, task)

    def _in_colour(self, result: dict[str, Tensor], units: list[Tensor], mode: str,
                   task: str | None) -> dict[str, Tensor]:
        """The model's results (3, H, W) in the colours of the pictures."""
        if mode == "rgb":
            return result
        result = {name: value if name == SHARES else luma(value) for name, value in result.items()}
        if mode == "ycbcr" and any(x.shape[0] == 3 for x in units):
            chroma = merge_chroma(units, task)
            result["fused"] = ycbcr_to_rgb(torch.cat([result["fused"], chroma])).clamp(0, 1)
        return result

    def _autocast(self) -> AbstractContextManager[object]:
        return autocast(self.dtype, self.device)


def _seen(units: Sequence[Tensor], mode: str) -> list[Tensor]:
    """What the model sees of pictures (C, H, W): three channels, equal ones unless the mode is rgb."""
    return [as_rgb(x if mode == "rgb" else as_grey(x)) for x in units]
