"""Weights in and out: our safetensors, the published checkpoints, ViT-Tiny encoders (docs/METHOD.md, section 7).

The published names live here and nowhere else. ``load_weights`` tells by the names in a file which layout it has.
"""

import argparse
import hashlib
import json
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from models.layers import BASE_GRID, sincos_position_table
from models.protocol import NETWORK
from utils.errors import MissingFileError, UserError
from utils.files import atomic_write

logger = logging.getLogger(__name__)

# Published prefix -> ours. Longer prefixes first where one begins another.
PUBLISHED_PREFIXES = {
    "enc_norm1.": "skip_norm1.",
    "enc_norm2.": "skip_norm2.",
    "recon_blocks_mim_encoder.": "refine.",
    "decoder_common_blocks.0.": "common_cross.",
    "decoder_common_blocks.1.": "common_block.",
    "decoder_common_blocks.2.": "common_head.",
    "decode_common_skipconn.": "common_skip_cross.",
    "decoder_unique_blocks.0.": "unique_cross.",
    "decoder_unique_blocks.1.": "unique_block.",
    "decoder_unique_blocks.2.": "unique_head.",
    "decoder_unique_residual_skipconn.": "unique_skip_residual.",
    "decoder_unique_residual.": "unique_residual.",
    "decoder_unique_skipconn.": "unique_skip_cross.",
    "decoder_fuse_blocks.0.": "fuse_cross.",
    "decoder_fuse_blocks.1.": "fuse_block.",
    "decoder_fuse_blocks.2.": "fuse_head.",
    "decoder_fuse_skipconn.": "fuse_skip_cross.",
    "mim_decoder_blocks.": "mfm_blocks.",
    "mim_decoder_norm.": "mfm_norm.",
    "mim_decoder_pred.": "mfm_head.",
    "latent_predict1.": "predict1.",
    "latent_predict2.": "predict2.",
    "mm_unique_norm1.": "predict_norm1.",
    "mm_unique_norm2.": "predict_norm2.",
}
ATTENTION_PREFIXES = {
    "multi_input_self_attn.multihead_attn.": "",
    "multi_input_self_attn.": "",
}
POSITION_TABLES = ("encoder.pos_embed", "decoder_pos_embed")  # made by formula, never loaded
PREDICTORS = ("predict1.", "predict2.", "predict_norm1.", "predict_norm2.")
TRAINING_ONLY = ("mask_token", "mfm_blocks.", "mfm_norm.", "mfm_head.", *PREDICTORS, "decoder_")  # decoder_: MAE
TEACHERS = ("model_encoder1.", "model_encoder2.")


@dataclass
class LoadReport:
    """What a load did, by name.

    Attributes:
        layout: "ours", "published" or "encoder".
        loaded: names that were set.
        missing: names of the network that the file lacks.
        unknown: names of the file that the network lacks.
    """

    layout: str
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def from_published_name(name: str) -> str:
    """Our name of a published weight; names that both share come back unchanged."""
    for theirs, ours in PUBLISHED_PREFIXES.items():
        if name.startswith(theirs):
            name = ours + name[len(theirs):]
            break
    for theirs, ours in ATTENTION_PREFIXES.items():
        name = name.replace(theirs, ours)
    return name


def to_published_name(name: str) -> str:
    """Published name of one of our weights."""
    for theirs, ours in PUBLISHED_PREFIXES.items():
        if name.startswith(ours):
            rest = name[len(ours):]
            if re.match(r"in_proj_|out_proj\.", rest):
                rest = "multi_input_self_attn.multihead_attn." + rest
            elif re.match(r"(query|key|value)\.", rest):
                rest = "multi_input_self_attn." + rest
            return theirs + rest
    return name


def to_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """State dict under published names, with the fixed position tables of the 14 x 14 grid."""
    state = {name.removeprefix(NETWORK): value for name, value in state.items()}
    result = {to_published_name(name): value for name, value in state.items()}
    table = sincos_position_table(state["encoder.cls_token"].shape[-1], (BASE_GRID, BASE_GRID))
    return result | dict.fromkeys(POSITION_TABLES, table)


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a weight file, under the names they have there.

    ``.safetensors`` files are read directly; anything else by ``torch.load(weights_only=True)``, unwrapping
    ``state_dict`` or ``model``. Nothing in a file is ever executed.

    Raises:
        MissingFileError: no such file.
        UserError: the file cannot be read or holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such weight file; give the path of a .safetensors, .pth or .pt file")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        with torch.serialization.safe_globals([argparse.Namespace]):  # MAE's own training files hold their arguments
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError) as error:
        raise UserError(f"{path}: not a readable weight file, perhaps cut short ({error}); fetch it again") from None
    except Exception as error:  # pickle's UnpicklingError and what malformed pickles raise
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: refused, it holds more than tensors ({reason}); "
                        "save it again as a plain state dict") from None
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise UserError(f"{path}: holds no weights; expected a state dict, or one under 'state_dict' or 'model'")
    return {name.removeprefix("module."): value for name, value in tensors.items()}


def _layout(names: set[str]) -> str:
    if any(name.startswith(("decoder_common_", "decode_common_", "enc_norm")) for name in names):
        return "published"
    if any(name.startswith("encoder.") for name in names):
        return "ours"
    if any(name.startswith("blocks.") for name in names):
        return "encoder"
    return "ours"


def load_weights(model: nn.Module, path: str | Path, *, strict: bool = True, start: bool = False) -> LoadReport:
    """Load a weight file into a network, whatever its layout.

    Layouts: ours; published stage 1 or 2, training or inference only (teachers are left out); a plain ViT of the
    encoder's size (TinyMIM, MAE, timm), which sets the encoder alone; a MAE into a ``MAE``. Predictors of stage 2
    that the network has not, or for teachers of another width, are left out.

    Args:
        model: the network.
        path: ``.safetensors``, ``.pth`` or ``.pt``.
        strict: unknown names are an error; otherwise they are logged.
        start: used to start a training run: the weights that the published network lacks (``traits.added``) may all
            be missing and keep their initial values.

    Raises:
        UserError: inference weights are missing, a shape differs or (strict) a name is unknown.
    """
    state, own = read_state(path), model.state_dict()
    layout, is_mae = _layout(set(state)), "cls_token" in own
    if layout == "published":
        state = {from_published_name(name): value for name, value in state.items()
                 if name not in POSITION_TABLES and not name.startswith(TEACHERS)}
    elif layout == "encoder":
        state = _encoder_state(state, whole=is_mae)
    if not is_mae:
        state = _names_inside(state, own)
    state = _fitting_predictors(state, own, path)
    report = _compare(own, state, layout, path)
    traits = model.traits
    required = [name for name in report.missing
                if not name.removeprefix(NETWORK).startswith(TRAINING_ONLY)
                and not name.startswith(traits.optional)]
    if start and not any(name.startswith(traits.added) for name in report.loaded):
        required = [name for name in required if not name.startswith(traits.added)]
    if layout == "encoder" and not is_mae:
        required = [name for name in required
                    if name.removeprefix(NETWORK).startswith("encoder.") and not name.startswith(traits.unused)]
    if required:
        raise UserError(f"{path}: lacks {len(required)} weights that the network needs: {some_names(required)}; "
                        "is it the file of another model?")
    if report.unknown and strict:
        raise UserError(f"{path}: holds {len(report.unknown)} weights that the network does not know: "
                        f"{some_names(report.unknown)}; set path.strict_load=false to leave them out")
    for name in report.loaded:
        own[name].copy_(state[name])
    if layout != "encoder":
        if report.missing:  # what inference does not need: no news to those who fuse
            logger.debug("%s: lacks, stays as initialised: %s", path, some_names(report.missing))
        if report.unknown:
            logger.warning("%s: left out, unknown to the network: %s", path, some_names(report.unknown))
    return report


def _names_inside(state: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of the published network and of older files -> those of a model that holds it under a prefix."""
    def name_inside(name: str) -> str:
        prefixes = ("", NETWORK, "head.")  # head.: the head's weights once had no prefix
        return next((prefix + name for prefix in prefixes if prefix + name in own), name)

    return {name_inside(name): value for name, value in state.items()}


def _encoder_state(state: dict[str, Tensor], *, whole: bool) -> dict[str, Tensor]:
    """A plain ViT's weights for a network: its head and position table are left out.

    Args:
        whole: the network is a MAE itself and takes the decoder too; otherwise the encoder is a part of it.
    """
    kept = ("blocks.", "patch_embed.", "cls_token", "norm.")
    if whole:
        kept += ("decoder_", "mask_token")
        return {name: value for name, value in state.items()
                if name.startswith(kept) and name not in POSITION_TABLES}
    return {f"encoder.{name}": value for name, value in state.items() if name.startswith(kept)}


def _fitting_predictors(state: dict[str, Tensor], own: dict[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    """Without the predictors that the network lacks, or has for teachers of another width."""
    misfits = [name for name, value in state.items()
               if name.startswith(PREDICTORS) and (name not in own or own[name].shape != value.shape)]
    if misfits:
        logger.info("%s: left out, predictors of other teachers: %s", path, some_names(misfits))
    return {name: value for name, value in state.items() if name not in misfits}


def _compare(own: dict[str, Tensor], state: dict[str, Tensor], layout: str, path: str | Path) -> LoadReport:
    """What a load would do; nothing is changed yet.

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
        path: the file, written beside and renamed.
        metadata: kept with the weights, e.g. model name and options, images seen; values become JSON.
        dtype: of the stored floating-point tensors.
    """
    tensors = {name: value.detach().to("cpu", dtype).contiguous() for name, value in model.state_dict().items()
               if not name.removeprefix(NETWORK).startswith(TRAINING_ONLY)}
    text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in (metadata or {}).items()}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt", **text})


def read_metadata(path: str | Path) -> dict[str, str]:
    """What a safetensors file says about itself; empty for other files."""
    if Path(path).suffix != ".safetensors":
        return {}
    with safe_open(path, "pt") as file:
        return dict(file.metadata() or {})


def weight_checksum(path: str | Path) -> str:
    """First 16 hexadecimal digits of the file's SHA-256: names the weights in results."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]
