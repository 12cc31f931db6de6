"""From a pair of pictures to the fused one: colour, windows, network, blending, colour again.

    from models import Fuser
    fuse = Fuser.from_pretrained()
    fused = fuse("ir.png", "vi.png").fused
"""

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.colour import COLORS, TASKS, as_grey, as_rgb, default_color, known_word, merge_chroma
from models.inputs import Source, check_sizes, read_source, restore
from models.registry import MODELS, model_from_options
from models.running import COMPONENTS, Runner, roles_of
from models.weight_files import find_weights, pretrained_names, weight_checksum
from models.weights import load_weights
from models.zoo import model_of_weights
from option.schema import Options, TileOptions
from utils.distributed import choose_device
from utils.errors import UserError
from utils.memory import keep_freed_memory
from utils.pictures.colour import luma
from utils.pictures.ycbcr import ycbcr_to_rgb
from utils.precision import autocast, autocast_dtype


@dataclass
class Fusion:
    """A fused picture and, for a pair, what it was made of.

    Arrays are (H, W, C) in the type of the inputs (the deepest one); for tensor inputs they are float
    tensors (C, H, W) in [0, 1].

    Attributes:
        fused: everything.
        common, unique1, unique2: components; None where the model has none or none were asked for.
        seconds: time from decoded inputs to the result.
    """

    fused: np.ndarray | Tensor
    common: np.ndarray | Tensor | None
    unique1: np.ndarray | Tensor | None
    unique2: np.ndarray | Tensor | None
    seconds: float


class Fuser:
    """Fuses pictures of any size with a model of the registry.

    Args:
        model: see `models/protocol.py` and CONTRIBUTING.md.
        device: "auto", "cpu", "cuda", ...
        color: "ycbcr" (fuse the luma; colour as in :func:`models.colour.merge_chroma`), "rgb", "gray"; None decides
            by the task, and without a task by the pictures: grey with colour is ycbcr, colour with colour rgb.
        tile: windows for large pictures.
        amp: "auto" (bf16 where the device gains), "bf16", "off".
    """

    def __init__(self, model: nn.Module, *, device: str = "auto", color: str | None = None,
                 tile: TileOptions | None = None, amp: str = "auto") -> None:
        if model.traits.training == "pictures":
            raise UserError(f"{type(model).__name__} learns from single pictures and fuses nothing; give DeFusionPP")
        self.device = choose_device(device)
        self.model = model.to(self.device).eval()
        self.name = type(model).__name__
        self.color = known_word("color", color, COLORS)
        self.tile = tile or TileOptions()
        self.dtype = autocast_dtype(amp, self.device)
        if self.device.type == "cpu":
            keep_freed_memory()  # mapping it anew took 40 % of the time of a pair of 1920 x 1080
        self.run = Runner(self.model, self.tile, self._autocast)
        self.checksum: str | None = None

    @classmethod
    def from_pretrained(cls, weights: str | Path | None = None, *, model: str | None = None,
                        network: dict[str, Any] | None = None, strict: bool = True, **kwargs: Any) -> "Fuser":
        """A fuser with weights of the project, or with those of a file.

        Args:
            weights: a name, such as "defusionpp_hr" (``models.list_models(pretrained=True)``), or the path of a
                ``.safetensors`` of ours or of a published checkpoint; by default the weights that are best.
            model: registered name; by default what the file says, else ``DeFusionPP``.
            network: keywords of the model; by default what the file says.
            strict: unknown names in the file are an error.
            **kwargs: of ``Fuser``.

        Raises:
            UserError: no such weights, unreadable ones, or those of another model; what ``Fuser`` raises.
        """
        path = find_weights(weights)
        name, keywords = model_of_weights(path, model)
        return cls(MODELS.create(name, **network or keywords), **kwargs)._load(path, strict)

    @classmethod
    def from_options(cls, options: Options) -> "Fuser":
        """The fuser that a test option file describes.

        Weights: ``path.resume_state``, else ``path.pretrain_model_G``. The model is the one of the option file, else
        the one that the weights are of; keywords that the option file does not give come from the weights as well.

        Raises:
            UserError: unknown model or keyword, no weights for a model that needs them, or those of another one.
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
        """Itself, with the weights of a file, whose checksum is kept for the record."""
        load_weights(self.model, path, strict=strict)
        self.checksum = weight_checksum(path)
        return self

    @torch.inference_mode()
    def __call__(self, first: Source, second: Source, *more: Source, task: str | None = None,
                 color: str | None = None, components: bool = True) -> Fusion:
        """Fuse two or more registered pictures of one scene.

        Args:
            first, second, *more: paths; ``Picture``; PIL pictures; arrays (H, W) or (H, W, C), uint8, uint16 or float
                in [0, 1]; tensors (C, H, W), float in [0, 1]. Infrared first and visible second, over- first and
                under-exposed second, near and far. Three equal channels are a grey picture.
            task: "IVF", "MEF" or "MFF", for the default colour handling; case does not matter.
            color: overrides the fuser's.
            components: whether common, unique1 and unique2 are wanted; only pairs have them.

        Returns:
            The fusion. ``fused`` has three channels if one of the pictures was given with three, unless gray was
            asked for.

        Raises:
            UserError: sizes differ, a picture is smaller than 16 x 16 or of values that are no picture's, or a word
                is unknown.
        """
        task, asked = known_word("task", task, TASKS), known_word("color", color, COLORS) or self.color
        names = ["the first picture", "the second picture", *(f"picture {number + 3}" for number in range(len(more)))]
        inputs = [read_source(source, name) for source, name in zip((first, second, *more), names)]
        check_sizes(inputs)
        start = time.perf_counter()
        units = [item.unit.to(self.device, torch.float32) for item in inputs]
        result = self._fuse(units, asked or default_color(task, *units), task, components)
        if asked != "gray" and any(item.channels == 3 for item in inputs):
            result["fused"] = as_rgb(result["fused"])
        pictures = {name: restore(value, inputs) for name, value in result.items()}
        fusion = Fusion(**{name: pictures.get(name) for name in COMPONENTS}, seconds=0.0)
        fusion.seconds = time.perf_counter() - start
        return fusion

    def _fuse(self, units: list[Tensor], mode: str, task: str | None, components: bool) -> dict[str, Tensor]:
        """Unit pictures (C, H, W) in, named unit pictures out."""
        roles, kind = roles_of(task, units)
        seen = [as_rgb(x if mode == "rgb" else as_grey(x)) for x in units]
        result = self.run(seen, roles=roles, task=kind, components=components)
        if mode == "rgb":
            return result
        result = {name: luma(value) for name, value in result.items()}
        if mode == "ycbcr" and any(x.shape[0] == 3 for x in units):
            chroma = merge_chroma(units, task)
            result["fused"] = ycbcr_to_rgb(torch.cat([result["fused"], chroma])).clamp(0, 1)
        return result

    def _autocast(self) -> AbstractContextManager[object]:
        return autocast(self.dtype, self.device)
