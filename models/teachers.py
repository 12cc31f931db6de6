"""The teachers of stage 2: frozen MAE encoders from a file or from timm, kept outside the network.

A teacher never keeps random weights: a file with missing weights is an error.
"""

import logging
import re
from collections.abc import Sequence

import timm
import torch
from torch import Tensor, nn

from models.layers import BASE_GRID
from models.mae import HEAD_WIDTH, MAEEncoder
from models.published import TEACHERS
from models.weight_files import read_state, teacher_names
from models.weights import is_sincos_table, some_names
from utils.errors import UserError

logger = logging.getLogger(__name__)

TIMM = "timm:"
_PATCH = "patch_embed.proj.weight"
_NOT_ENCODER = ("decoder_", "mask_token", "pos_embed", "head.", "fc_norm.")
_MATRICES = (nn.Linear, nn.Conv2d)


class Teachers:
    """A frozen encoder for each modality. Not a module, so that state dicts and optimisers do not include it.

    The encoders move to the device of the images at the first call. Under bf16 autocast (``train.amp``) their matrices
    are kept in bf16, which halves the memory; norms and residuals stay in float32.

    Args:
        encoders: teachers of the first and second modality; may be the same object.
    """

    def __init__(self, encoders: Sequence[MAEEncoder]) -> None:
        self.first, self.second = (encoder.eval().requires_grad_(False) for encoder in encoders)

    @classmethod
    def load(cls, modality1: str | None, modality2: str | None, *, where: str = "teachers") -> "Teachers":
        """Load both teachers; see :func:`load_teacher`. Equal teachers are stored once.

        Args:
            modality1, modality2: sources, as in the section ``teachers`` of the option file.
            where: place of that section for messages, such as ``option/train/X.yaml: teachers``.

        Raises:
            UserError: a source is missing or cannot be used.
        """
        missing = [f"modality{i}" for i, source in enumerate((modality1, modality2), 1) if not source]
        if missing:
            raise UserError(
                f"{where}.{missing[0]}: missing; stage 2 needs a MAE encoder of each modality. Four ways to "
                f"one: the name of a shipped one ({', '.join(teacher_names())}), your own (python selftrain.py -opt "
                "option/train/MAE_FLIR.yaml or MAE_ImageNet.yaml), the path of a MAE file (the official ones work), or "
                "timm:vit_base_patch16_224.mae")
        first, second = load_teacher(modality1, modality=1), load_teacher(modality2, modality=2)
        return cls((first, first if modality1 == modality2 and _equal(first, second) else second))

    @property
    def widths(self) -> tuple[int, int]:
        """Token widths of both teachers, which set the sizes of the predictors."""
        return self.first.embed_dim, self.second.embed_dim

    @torch.no_grad()
    def __call__(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of each teacher for its modality.

        Args:
            first, second: (B, 3, H, W), normalised like the network's input.

        Returns:
            Tokens (B, 1 + N, D) of the teacher of each, float32.
        """
        return tuple(self._place(encoder, x)(x).float() for encoder, x in ((self.first, first), (self.second, second)))

    @staticmethod
    def _place(encoder: MAEEncoder, x: Tensor) -> MAEEncoder:
        weight = encoder.patch_embed.proj.weight
        if weight.device != x.device:
            encoder.to(x.device)
        kind = x.device.type
        half = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16
        if half and weight.dtype != torch.bfloat16:
            for module in encoder.modules():
                if isinstance(module, _MATRICES):
                    module.to(torch.bfloat16)
        return encoder


def _equal(first: MAEEncoder, second: MAEEncoder) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def load_teacher(source: str, *, modality: int = 1) -> MAEEncoder:
    """Load a frozen MAE encoder; width and depth are read from its weights, the number of heads is width / 64.

    Args:
        source: ``timm:NAME``, the name of a shipped teacher, or a file: an official MAE checkpoint, one of our MAE
            pretraining (checkpoint or safetensors), or a published stage 2 checkpoint (which contains both teachers).
        modality: 1 or 2, the teacher to take from a published stage 2 checkpoint.

    Raises:
        UserError: no such file or timm model, a failed download, or an incomplete MAE encoder; lists the missing
            weights.
    """
    state = _timm_state(source.removeprefix(TIMM)) if source.startswith(TIMM) else read_state(source)
    if any(name.startswith(TEACHERS) for name in state):
        prefix = TEACHERS[modality - 1]
        state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    encoder = _encoder_from(state, source)
    logger.info("teacher %d: %s, width %d, %d blocks", modality, source, encoder.embed_dim, len(encoder.blocks))
    return encoder.eval().requires_grad_(False)


def _encoder_from(state: dict[str, Tensor], source: str) -> MAEEncoder:
    patch = state.get(_PATCH)
    if patch is None or patch.ndim != 4 or patch.shape[1:] != (3, 16, 16) or patch.shape[0] % HEAD_WIDTH:
        found = "none" if patch is None else f"one of shape {tuple(patch.shape)}"
        raise UserError(f"{source}: no MAE encoder: expected {_PATCH} of shape (64 x heads, 3, 16, 16), found {found}; "
                        "give a MAE ViT/16")
    _check_positions(state, source)
    blocks = {int(match[1]) for name in state if (match := re.match(r"blocks\.(\d+)\.", name))}
    with torch.device("meta"):
        encoder = MAEEncoder(patch.shape[0], 1 + max(blocks, default=0))
    wanted = encoder.state_dict()
    own = {name: value.float() for name, value in state.items() if not name.startswith(_NOT_ENCODER)}
    missing = [name for name in wanted if name not in own]
    wrong = [name for name, value in wanted.items() if name in own and own[name].shape != value.shape]
    unknown = [name for name in own if name not in wanted]
    for names, what in ((missing, "lacks"), (wrong, "has another shape for"), (unknown, "also has")):
        if names:
            raise UserError(f"{source}: no whole MAE encoder: it {what} {len(names)} weights: "
                            f"{some_names(names, 12)}; give the file of a MAE pretraining")
    encoder.load_state_dict(own, assign=True)
    return encoder


def _check_positions(state: dict[str, Tensor], source: str) -> None:
    """Reject files with other positions: the network computes them by formula, and the teacher would be wrong."""
    stored = state.get("pos_embed")
    if stored is None:
        return
    if not is_sincos_table(stored) or stored.shape[1] != 1 + BASE_GRID**2:
        raise UserError(f"{source}: its position table is not MAE's sine-cosine table of 14 x 14 patches "
                        f"(pos_embed {tuple(stored.shape)}); give a MAE trained on 224 x 224")


def _timm_state(name: str) -> dict[str, Tensor]:
    """Weights of a timm model, downloaded or from the local cache.

    Raises:
        UserError: no such model, no weights for it, or a failed download.
    """
    if not timm.is_model(name.split(".")[0]):
        near = ", ".join(timm.list_models("vit_*patch16_224.mae", pretrained=True))
        raise UserError(f"{TIMM}{name}: no such timm model; with MAE weights there are: {near}")
    try:
        return timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # the hub client raises many types, which all mean the same to the user
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{TIMM}{name}: its weights could not be had ({type(error).__name__}: {reason}); fetch them "
                        "on a machine with access to the hub, or give a local MAE file") from error
