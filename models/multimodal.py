"""DeFusion++ in stage 2 (MCUD): features of real pairs predict the tokens of the MAE teacher of each modality.

Source: docs/METHOD.md, section 3. The network is ``DeFusionPP`` with two small predictors; the teachers are separate,
see ``models/teachers.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor, nn

from models.defusion import DeFusionPP, swap_halves
from models.registry import LOSSES, MODELS


@dataclass
class ModalityPrediction:
    """Predictions of the teachers' tokens from the features of a pair.

    Attributes:
        predict1, predict2: prediction of the teacher's tokens of the first and second modality, (B, 1 + N, D_i)
            with the teacher's width D_i.
        common12, common21: common features in both orders of the pair, (B, 1 + N, D), normalised.
    """

    predict1: Tensor
    predict2: Tensor
    common12: Tensor
    common21: Tensor


@MODELS.register("DeFusionPPMM", aliases=("MUCMTransformer",))
class DeFusionPPMM(DeFusionPP):
    """The network of stage 2; on photographs it works like ``DeFusionPP``.

    Args:
        teacher_widths: token widths of the two teachers.
        network: keywords of ``DeFusionPP``.
    """

    traits = replace(DeFusionPP.traits, predicts_teachers=True)

    def __init__(self, *, teacher_widths: Sequence[int] = (768, 768), **network: int | float) -> None:
        super().__init__(**network)
        dim = self.encoder.embed_dim
        self.predict_norm1, self.predict_norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.predict1, self.predict2 = (nn.Linear(dim, width) for width in teacher_widths)

    def predict(self, first: Tensor, second: Tensor) -> ModalityPrediction:
        """Predict the teachers' tokens of a registered pair.

        Args:
            first, second: (B, 3, H, W) in [0, 1], H and W multiples of 16.
        """
        f, r = self.encode(first, second)
        # The pair stacked with the swapped pair: common features in both orders from one call.
        common = self.common_cross(f, swap_halves(f)) + self.common_skip_cross(r, swap_halves(r))
        common12, common21 = F.layer_norm(common, common.shape[-1:]).chunk(2)
        unique = self._unique(self.unique_cross, self.unique_residual, f)
        unique = unique + self._unique(self.unique_skip_cross, self.unique_skip_residual, r)
        unique1, unique2 = unique.chunk(2)
        return ModalityPrediction(
            predict1=self.predict1(self.predict_norm1(unique1) + common12),
            predict2=self.predict2(self.predict_norm2(unique2) + common21),
            common12=common12,
            common21=common21,
        )


@LOSSES.register("MCUDLoss")
class MCUDLoss(nn.Module):
    """L1(predict1, teacher1) + L1(predict2, teacher2) + L1(common12, common21), as means (docs/METHOD.md, section 4).

    Args:
        modality: weight of each of the first two terms.
        common: weight of the last term.
    """

    takes = ModalityPrediction

    def __init__(self, *, modality: float = 1.0, common: float = 1.0) -> None:
        super().__init__()
        self.modality, self.common = modality, common

    def forward(self, out: ModalityPrediction, sample: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Weighted terms under their published names, and ``total_loss``.

        Args:
            out: the network's prediction.
            sample: tokens of both teachers, (B, 1 + N, D_i), class token included.
        """
        teacher1, teacher2 = sample
        terms = {
            "self_supervised_modality1": self.modality * F.l1_loss(out.predict1.float(), teacher1),
            "self_supervised_modality2": self.modality * F.l1_loss(out.predict2.float(), teacher2),
            "self_supervised_common": self.common * F.l1_loss(out.common12.float(), out.common21.float()),
        }
        terms["total_loss"] = sum(terms.values())
        return terms
