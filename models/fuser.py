"""Fuses pictures with a model: colour conversion, windows, network, blending, colour restoration.

    from models import Fuser
    fuse = Fuser.from_pretrained()
    fused = fuse("ir.png", "vi.png").fused
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from models.colour import COLORS, as_grey, as_rgb, default_color, known_word, merge_chroma
from models.inputs import align_inputs, check_sizes, read_sources, restore, restore_map
from models.onnx_backend import SUFFIX, OnnxBackend, OnnxModel
from models.preferred import follow_preferred, read_maps
from models.protocol import TASKS
from models.running import COMPONENTS, SHARES, Runner, roles_of
from models.weight_files import find_weights, weight_checksum
from utils.arrays import library_of
from utils.errors import UserError
from utils.pictures.alignment.rule import Align, AlignRule, Margin, Resize
from utils.pictures.colour import luma
from utils.pictures.ycbcr import ycbcr_to_rgb

if TYPE_CHECKING:  # fusing with ONNX Runtime needs neither PyTorch nor the option files
    import numpy as np
    from torch import Tensor, nn

    from models.inputs import Source
    from option.schema import Options, TileOptions
    from utils.arrays import Array
    from utils.pictures.alignment import Alignment


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
        model: see `models/protocol.py` and CONTRIBUTING.md; or a model in an ONNX file.
        device: "auto", "cpu", "cuda", ...; an ``OnnxModel`` has its own.
        color: "ycbcr" (fuse the luma; colour by :func:`models.colour.merge_chroma`), "rgb" or "gray". None: selected
            by the task or, without a task, by the pictures: ycbcr for grey with colour, rgb for colour with colour.
        tile: windows for large pictures.
        amp: "auto" (bf16 where it is native), "bf16" or "off".
        align: "auto", "translation", "affine" or "homography" aligns the pictures first (docs/ALIGNMENT.md).
        resize: "first" or "second": picture whose grid is used if sizes differ.
        align_margin: "crop" (cut aligned pictures to their common area) or "fill" (keep the size of the reference).
    """

    def __init__(self, model: nn.Module | OnnxModel, *, device: str = "auto", color: str | None = None,
                 tile: TileOptions | None = None, amp: str = "auto", align: Align = "none", resize: Resize = "error",
                 align_margin: Margin = "crop") -> None:
        if model.traits.training == "pictures":
            raise UserError(f"{type(model).__name__} learns from single pictures and fuses nothing; give DeFusionPP")
        if isinstance(model, OnnxModel):
            self.backend = OnnxBackend(model, amp)
        else:
            from models.torch_backend import TorchBackend  # here: ONNX files are fused without PyTorch

            self.backend = TorchBackend(model, device, amp)
        self.model, self.device, self.dtype = self.backend.model, self.backend.device, self.backend.dtype
        self.name = self.backend.name
        self.color = known_word("color", color, COLORS)
        known_word("align", align, get_args(Align))
        known_word("resize", resize, get_args(Resize))
        known_word("align_margin", align_margin, get_args(Margin))
        self.align = AlignRule(align, resize, align_margin)
        self.run = Runner(self.model, tile, self.backend.precision)
        self.checksum: str | None = None

    @classmethod
    def from_pretrained(cls, weights: str | Path | None = None, *, model: str | None = None,
                        network: dict[str, Any] | None = None, strict: bool = True, **kwargs: Any) -> Fuser:
        """Build a fuser with shipped weights or with those of a file.

        Args:
            weights: a name such as "defusionpp_hr" (see ``models.list_models(pretrained=True)``), the path of a
                ``.safetensors`` file, a published checkpoint or an ``.onnx`` file, or a Hugging Face repository,
                "owner/name" (needs ``huggingface_hub``); by default the best shipped weights.
            model: registered name; by default from the file, else ``DeFusionPP``.
            network: keywords of the model; by default from the file.
            strict: unknown names in the file are an error.
            **kwargs: arguments of ``Fuser``.

        Raises:
            UserError: missing or unreadable weights, or weights of another model; errors of ``Fuser``.
        """
        path = find_weights(weights)
        if path.suffix == SUFFIX:
            if model or network:
                raise UserError(f"{path}: an ONNX file holds its model; leave model and network out")
            return cls._of_onnx(path, **kwargs)
        with _needing_torch(path):
            from models.zoo import load_model

            return cls(load_model(path, model, network, strict=strict), **kwargs)._of(path)

    @classmethod
    def from_options(cls, options: Options) -> Fuser:
        """Build the fuser described by a test option file.

        Weights are ``path.resume_state``, else ``path.pretrain_model_G``. The model and its keywords are taken from
        the option file, or from the weights if not given there.

        Raises:
            UserError: unknown model or keyword, no weights for a model that needs them, or weights of another model.
        """
        from models.registry import MODELS
        from models.zoo import model_of_options

        settings = {"device": options.device, "color": options.color, "tile": options.tile, "amp": options.train.amp}
        weights = options.path.resume_state or options.path.pretrain_model_G
        if weights and Path(weights).suffix == SUFFIX and MODELS.get(options.model).traits.needs_weights:
            return cls._of_onnx(find_weights(weights), **settings)
        model, path = model_of_options(options)
        return cls(model, **settings)._of(path)

    @classmethod
    def _of_onnx(cls, path: Path, *, device: str = "auto", **settings: Any) -> Fuser:
        return cls(OnnxModel(path, device), **settings)._of(path)

    def _of(self, path: Path | None) -> Fuser:
        """Store the checksum of the weight file, if there is one, and return self."""
        self.checksum = None if path is None else weight_checksum(path)
        return self

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
        maps = None if prefer is None else read_maps(prefer, len(inputs), inputs[0].unit.shape[1:])
        start = time.perf_counter()
        with self.backend.running():
            units = [self.backend.place(item.unit) for item in inputs]
            result = self._fuse(units, asked or default_color(task, *units), task, components, weights)
            shares = result.pop(SHARES, None)
            if maps is not None:
                maps = self.backend.place(maps)
                result["fused"] = follow_preferred(result["fused"], units, maps)
                shares = None if shares is None else shares * (1 - maps.sum(0)) + maps
            if asked != "gray" and any(item.channels == 3 for item in inputs):
                result["fused"] = as_rgb(result["fused"])
            pictures = {name: restore(value, inputs, bits) for name, value in result.items()}
        fusion = Fusion(**{name: pictures.get(name) for name in COMPONENTS}, seconds=0.0,
                        alignments=tuple(alignments) if any(alignments) else (),
                        weights=None if shares is None else restore_map(shares, inputs))
        fusion.seconds = time.perf_counter() - start
        return fusion

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
        with self.backend.running():
            units = [[self.backend.place(item.unit) for item in inputs] for inputs in read]
            modes = [asked or default_color(task, *pictures) for pictures in units]
            roles = [roles_of(task, pictures) for pictures in units]
            results = self.run.batch([_seen(*one) for one in zip(units, modes)], roles)
            fused = [self._in_colour({"fused": result}, pictures, mode, task)["fused"]
                     for result, pictures, mode in zip(results, units, modes)]
            return [restore(as_rgb(one) if asked != "gray" and any(item.channels == 3 for item in inputs) else one,
                            inputs) for one, inputs in zip(fused, read)]

    def _fuse(self, units: list[Array], mode: str, task: str | None, components: bool,
              shares: bool) -> dict[str, Array]:
        """Fuse pictures (C, H, W) in [0, 1]; returns the results in [0, 1] by name."""
        roles, kind = roles_of(task, units)
        result = self.run(_seen(units, mode), roles=roles, task=kind, components=components, shares=shares)
        return self._in_colour(result, units, mode, task)

    def _in_colour(self, result: dict[str, Array], units: list[Array], mode: str,
                   task: str | None) -> dict[str, Array]:
        """The model's results (3, H, W) in the colours of the pictures."""
        if mode == "rgb":
            return result
        result = {name: value if name == SHARES else luma(value) for name, value in result.items()}
        if mode == "ycbcr" and any(x.shape[0] == 3 for x in units):
            chroma = merge_chroma(units, task)
            ycbcr = library_of(chroma).concat([result["fused"], chroma])
            result["fused"] = ycbcr_to_rgb(ycbcr).clip(0, 1)
        return result


def _seen(units: Sequence[Array], mode: str) -> list[Array]:
    """What the model sees of pictures (C, H, W): three channels, equal ones unless the mode is rgb."""
    return [as_rgb(x if mode == "rgb" else as_grey(x)) for x in units]


@contextlib.contextmanager
def _needing_torch(path: Path) -> Iterator[None]:
    """Say what to do if weights that need PyTorch are loaded without it.

    Raises:
        UserError: PyTorch is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UserError(f"{path}: needs PyTorch, which is not installed; give an .onnx file (defusionpp export makes "
                        "one where PyTorch is), or pip install defusionpp") from None
