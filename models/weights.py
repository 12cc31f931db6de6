"""Loads and saves weights: our safetensors, published checkpoints, ViT-Tiny encoders (docs/METHOD.md, section 7).

``load_weights`` detects the layout of a file from its weight names. Published names are in `models/published.py`.
"""

import json
import logging
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.layers import sincos_position_table
from models.protocol import NETWORK, Traits
from models.published import POSITION_TABLES, TEACHERS, from_published_name
from models.registry import present_name
from models.weight_files import find_weights, read_about, read_state
from utils.errors import UserError
from utils.files import atomic_write

logger = logging.getLogger(__name__)

PREDICTORS = ("predict1.", "predict2.", "predict_norm1.", "predict_norm2.")
TRAINING_ONLY = ("mask_token", "mfm_blocks.", "mfm_norm.", "mfm_head.", *PREDICTORS, "decoder_")  # decoder_: MAE


@dataclass
class LoadReport:
    """The outcome of loading weights, by name.

    Attributes:
        layout: "ours", "published" or "encoder".
        loaded: loaded weights.
        missing: weights of the network that are not in the file.
        unknown: weights of the file that are not in the network.
    """

    layout: str
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def _layout(names: set[str]) -> str:
    if any(name.startswith(("decoder_common_", "decode_common_", "enc_norm")) for name in names):
        return "published"
    if any(name.startswith("encoder.") for name in names):
        return "ours"
    if any(name.startswith("blocks.") for name in names):
        return "encoder"
    return "ours"


def load_weights(model: nn.Module, path: str | Path, *, strict: bool = True, start: bool = False) -> LoadReport:
    """Load a weight file of any known layout into a network.

    Layouts: ours; published stage 1 or 2, for training or inference only (teachers are ignored); a MAE into a ``MAE``;
    with ``start``, also a plain ViT of the encoder's size (TinyMIM, MAE, timm), which sets only the encoder. Stage 2
    predictors that the network lacks, or has for teachers of another width, are ignored.

    Args:
        model: the network.
        path: ``.safetensors``, ``.pth`` or ``.pt``, or a name; see :func:`find_weights`.
        strict: unknown names are an error; otherwise they are logged.
        start: used to start a training run. The file may contain only an encoder, and weights that the published
            network lacks (``traits.added``) may be missing; missing weights keep their initial values.

    Raises:
        UserError: inference weights are missing, a shape differs or (strict) a name is unknown.
    """
    path = find_weights(path)
    return load_state(model, read_state(path), path, strict=strict, start=start)


def load_state(model: nn.Module, state: dict[str, Tensor], path: Path, *, strict: bool = True,
               start: bool = False) -> LoadReport:
    """As :func:`load_weights`, with tensors that have been read from ``path``."""
    own = model.state_dict()
    layout, is_mae = _layout(set(state)), "cls_token" in own
    if layout == "encoder" and not (is_mae or start):
        raise UserError(f"{path}: holds an encoder alone (MAE, TinyMIM, timm), nothing that fuses; it can start a "
                        "training: give it to selftrain.py as path.pretrain_model_G")
    state = _under_our_names(state, layout, is_mae, path)
    if not is_mae:
        state = _names_inside(state, own)
    state = _fitting_predictors(state, own, path)
    report = _compare(own, state, layout, path)
    _check_complete(report, path, model.traits, start=start, encoder_only=layout == "encoder" and not is_mae)
    if report.unknown and strict:
        raise UserError(f"{path}: holds {len(report.unknown)} weights that the network does not know: "
                        f"{some_names(report.unknown)}; "
                        f"{_whose(path) or 'set path.strict_load=false to leave them out'}")
    if not report.loaded:
        raise UserError(f"{path}: none of its {len(state)} weights belongs to a {type(model).__name__}")
    for name in report.loaded:
        own[name].copy_(state[name])
    if layout != "encoder":
        if report.missing:  # weights not needed for inference, of no interest when fusing
            logger.debug("%s: lacks, stays as initialised: %s", path, some_names(report.missing))
        if report.unknown:
            logger.warning("%s: left out, unknown to the network: %s", path, some_names(report.unknown))
    return report


def _names_inside(state: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Translate names of the published network and of older files to a model that contains it under a prefix."""
    def name_inside(name: str) -> str:
        prefixes = ("", NETWORK, "head.")  # head.: in older files the head's weights have no prefix
        return next((prefix + name for prefix in prefixes if prefix + name in own), name)

    return {name_inside(name): value for name, value in state.items()}


def _under_our_names(state: dict[str, Tensor], layout: str, is_mae: bool, path: Path) -> dict[str, Tensor]:
    """The usable weights of a file, with our names for the published network."""
    if layout == "published":
        return {from_published_name(name): value for name, value in state.items()
                if name not in POSITION_TABLES and not name.startswith(TEACHERS)}
    if layout == "encoder":
        _warn_of_positions(state, path)
        return _encoder_state(state, whole=is_mae)
    return state


def _check_complete(report: LoadReport, path: Path, traits: Traits, *, start: bool, encoder_only: bool) -> None:
    """Check that all weights needed for inference are present.

    Args:
        report: result of the comparison.
        path: the file.
        traits: traits of the model.
        start: weights that the published network lacks may all be missing.
        encoder_only: only the encoder has to be complete.

    Raises:
        UserError: weights are missing.
    """
    required = [name for name in report.missing
                if not name.removeprefix(NETWORK).startswith(TRAINING_ONLY) and not name.startswith(traits.optional)]
    if start and not any(name.startswith(traits.added) for name in report.loaded):
        required = [name for name in required if not name.startswith(traits.added)]
    if encoder_only:
        required = [name for name in required
                    if name.removeprefix(NETWORK).startswith("encoder.") and not name.startswith(traits.unused)]
    if required:
        raise UserError(f"{path}: lacks {len(required)} weights that the network needs: {some_names(required)}; "
                        f"{_whose(path) or 'is it the file of another model?'}")


def _whose(path: Path) -> str:
    """A hint for messages: the model of a file and how to select it; empty if the file does not name one."""
    about = read_about(path)
    if about.model is None:
        return ""
    name, _ = present_name(about.model, about.network)
    return f"it holds a {name}: give --set model={name}"


def _warn_of_positions(state: dict[str, Tensor], path: Path) -> None:
    """Warn if a learned position table is ignored, as the network computes positions by formula."""
    table = state.get("pos_embed")
    if table is not None and not is_sincos_table(table):
        logger.warning("%s: its position table %s is left out: it is learned, and the network's positions are fixed "
                       "sines and cosines; expect a slower start than from a MAE", path, tuple(table.shape))


def is_sincos_table(table: Tensor) -> bool:
    """True for MAE's fixed table of a square grid with a class token, (1, 1 + N, D)."""
    side = math.isqrt(table.shape[-2] - 1) if table.ndim == 3 else 0
    if side == 0 or table.shape[-1] % 4:
        return False
    wanted = sincos_position_table(table.shape[-1], (side, side))
    return table.shape == wanted.shape and bool((table.float() - wanted).abs().max() < 1e-2)


def _encoder_state(state: dict[str, Tensor], *, whole: bool) -> dict[str, Tensor]:
    """Weights of a plain ViT for a network, without its head and position table.

    Args:
        whole: the network is a MAE and uses the decoder too; otherwise it contains the encoder as a part.
    """
    kept = ("blocks.", "patch_embed.", "cls_token", "norm.")
    if whole:
        kept += ("decoder_", "mask_token")
        return {name: value for name, value in state.items()
                if name.startswith(kept) and name not in POSITION_TABLES}
    return {f"encoder.{name}": value for name, value in state.items() if name.startswith(kept)}


def _fitting_predictors(state: dict[str, Tensor], own: dict[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    """Drop predictors that the network lacks, or has for teachers of another width."""
    misfits = [name for name, value in state.items()
               if name.startswith(PREDICTORS) and (name not in own or own[name].shape != value.shape)]
    if misfits:
        logger.info("%s: left out, predictors of other teachers: %s", path, some_names(misfits))
    return {name: value for name, value in state.items() if name not in misfits}


def _compare(own: dict[str, Tensor], state: dict[str, Tensor], layout: str, path: str | Path) -> LoadReport:
    """Compare the weights of a network and a file, without loading them.

    Raises:
        UserError: a shape differs.
    """
    wrong = [f"{name} is {tuple(state[name].shape)}, the network needs {tuple(own[name].shape)}"
             for name in own if name in state and state[name].shape != own[name].shape]
    if wrong:
        raise UserError(f"{path}: {len(wrong)} weights have another shape: {some_names(wrong, 3)}; "
                        "the file belongs to a network of another size (see network_G)")
    return LoadReport(layout, loaded=[name for name in state if name in own],
                      missing=[name for name in own if name not in state],
                      unknown=[name for name in state if name not in own])


def some_names(names: list[str], count: int = 8) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def save_weights(model: nn.Module, path: str | Path, *, metadata: dict[str, object] | None = None,
                 dtype: torch.dtype = torch.float16) -> None:
    """Write a network's inference tensors as safetensors.

    Args:
        model: the network; training-only parts (MFM decoder, predictors) are left out.
        path: the file; written atomically.
        metadata: stored with the weights, such as model name, options and images seen; values are encoded as JSON.
        dtype: type of the stored floating-point tensors.
    """
    tensors = {name: value.detach().to("cpu", dtype).contiguous() for name, value in model.state_dict().items()
               if not name.removeprefix(NETWORK).startswith(TRAINING_ONLY)}
    text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in (metadata or {}).items()}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt", **text})
