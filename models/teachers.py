"""The teachers of stage 2: frozen MAE encoders from a file or from timm, held outside every network.

A teacher never keeps a random weight: a file that leaves one unset is an error.
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
from models.weight_files import read_state
from models.weights import is_sincos_table, some_names
from utils.errors import UserError

logger = logging.getLogger(__name__)

TIMM = "timm:"
_PATCH = "patch_embed.proj.weight"
_NOT_ENCODER = ("decoder_", "mask_token", "pos_embed", "head.", "fc_norm.")
_MATRICES = (nn.Linear, nn.Conv2d)


class Teachers:
    """A frozen encoder for each modality; no module, so that no state dict or optimiser ever holds it.

    They follow the images to their device at the first call. Under bf16 autocast (``train.amp``, which takes bf16
    where the device gains) their matrices are kept in bf16, half the memory; norms and residuals stay in float32.

    Args:
        encoders: teacher of the first and of the second modality; the same object may serve both.
    """

    def __init__(self, encoders: Sequence[MAEEncoder]) -> None:
        self.first, self.second = (encoder.eval().requires_grad_(False) for encoder in encoders)

    @classmethod
    def load(cls, modality1: str | None, modality2: str | None, *, where: str = "teachers") -> "Teachers":
        """Both teachers by their sources; see :func:`load_teacher`. Equal ones are kept once.

        Args:
            modality1, modality2: as in the option file's section ``teachers``.
            where: that section's place for messages, such as ``option/train/X.yaml: teachers``.

        Raises:
            UserError: a source is missing or cannot be used.
        """
        missing = [f"modality{i}" for i, source in enumerate((modality1, modality2), 1) if not source]
        if missing:
            raise UserError(
                f"{where}.{missing[0]}: missing; stage 2 needs a MAE encoder of each modality. Three ways to one: "
                "pretrain it (python selftrain.py -opt option/train/MAE_FLIR.yaml or MAE_ImageNet.yaml), give the "
                "path of a MAE file (the official ones work), or timm:vit_base_patch16_224.mae")
        first, second = load_teacher(modality1, modality=1), load_teacher(modality2, modality=2)
        return cls((first, first if modality1 == modality2 and _equal(first, second) else second))

    @property
    def widths(self) -> tuple[int, int]:
        """Widths of their tokens; the predictors' sizes follow."""
        return self.first.embed_dim, self.second.embed_dim

    @torch.no_grad()
    def __call__(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """What each sees in its modality.

        Args:
            first, second: (B, 3, H, W), normalised as the network's input.

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
    """A frozen MAE encoder; width and depth are read from its weights, heads are width / 64.

    Args:
        source: ``timm:NAME``, or a file: an official MAE checkpoint, one of our MAE pretraining (checkpoint or
            safetensors), or a published stage 2 checkpoint (which holds both teachers).
        modality: 1 or 2, which of a published stage 2 checkpoint's teachers.

    Raises:
        UserError: no such file or timm model, no download, or the file is not a whole MAE encoder; lists the
            weights that are missing. A teacher never keeps a random weight.
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
    """Positions come by formula; a file that was trained with others would be a wrong teacher, silently."""
    stored = state.get("pos_embed")
    if stored is None:
        return
    if not is_sincos_table(stored) or stored.shape[1] != 1 + BASE_GRID**2:
        raise UserError(f"{source}: its position table is not MAE's sine-cosine table of 14 x 14 patches "
                        f"(pos_embed {tuple(stored.shape)}); give a MAE trained on 224 x 224")


def _timm_state(name: str) -> dict[str, Tensor]:
    """Weights of a timm model, downloaded or from the local cache.

    Raises:
        UserError: no such model, no weights for it, or no download.
    """
    if not timm.is_model(name.split(".")[0]):
        near = ", ".join(timm.list_models("vit_*patch16_224.mae", pretrained=True))
        raise UserError(f"{TIMM}{name}: no such timm model; with MAE weights there are: {near}")
    try:
        return timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # the hub client raises many kinds; to the user all of them mean the same
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{TIMM}{name}: its weights could not be had ({type(error).__name__}: {reason}); fetch them "
                        "on a machine with access to the hub, or give a local MAE file") from error
