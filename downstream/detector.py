"""Object detection: torchvision's FCOS on maps of five strides."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from downstream.heads import conv

_TOKEN_WIDTH = 768
_LEAST_SCORE = 0.05  # precision is averaged over all recalls, so weak boxes count too


class LevelsOfMaps(nn.Module):
    """A feature pyramid of strides 8 to 128 on the maps of a backbone.

    Args:
        maps: maps pictures to feature maps of strides 4, 8, 16 and 32; the first is unused.
        width: channels of each level.
    """

    def __init__(self, maps: nn.Module, width: int) -> None:
        super().__init__()
        self.maps, self.out_channels = maps, width
        self.pyramid = FeaturePyramidNetwork(maps.channels[1:], width, extra_blocks=LastLevelP6P7(width, width))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Levels (B, width, H / stride, W / stride), finest first."""
        return self.pyramid({str(level): value for level, value in enumerate(self.maps(x)[1:])})


class LevelsOfTokens(nn.Module):
    """The published detection pyramid: fused tokens -> LayerNorm, linear 768, GELU -> simple pyramid (Li et al. 2022,
    ViTDet, arXiv 2203.16527) of strides 8, 16 and 32. Ours: strides 64 and 128 are added for FCOS.

    Args:
        pair: maps pictures to ``PairFeatures``.
        tokens: width D of the tokens.
        width: channels of each level.
    """

    def __init__(self, pair: nn.Module, tokens: int, width: int) -> None:
        super().__init__()
        self.pair, self.out_channels = pair, width
        self.widen = nn.Sequential(nn.LayerNorm(tokens), nn.Linear(tokens, _TOKEN_WIDTH), nn.GELU())
        scales = (nn.ConvTranspose2d(_TOKEN_WIDTH, _TOKEN_WIDTH // 2, 2, stride=2), nn.Identity(), nn.MaxPool2d(2))
        channels = (_TOKEN_WIDTH // 2, _TOKEN_WIDTH, _TOKEN_WIDTH)
        self.levels = nn.ModuleList(nn.Sequential(scale, conv(count, width, 1), conv(width, width, 3))
                                    for scale, count in zip(scales, channels))
        self.coarser = LastLevelP6P7(width, width)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Levels (B, width, H / stride, W / stride), finest first; H and W are multiples of 32."""
        features = self.pair(x)
        wide = features.as_map(self.widen(features.fused))
        levels = [level(wide) for level in self.levels]
        levels, names = self.coarser(levels, levels, ["8", "16", "32"])
        return dict(zip(names, levels))


class _AsTheyAre(GeneralizedRCNNTransform):
    """Keeps the size of the pictures; pads a batch to multiples of 32."""

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None
               ) -> tuple[Tensor, dict[str, Tensor] | None]:
        return image, target


class Detector(nn.Module):
    """Boxes, classes and scores (FCOS, Tian et al. 2019, arXiv 1904.01355).

    Args:
        levels: maps pictures to levels of strides 8, 16, 32, 64 and 128; has ``out_channels``.
        classes: number of classes.
        pictures: 1, or 2 for a pair as six channels.
    """

    def __init__(self, levels: nn.Module, classes: int, *, pictures: int) -> None:
        super().__init__()
        self.fcos = FCOS(levels, classes, score_thresh=_LEAST_SCORE)
        boxes = self.fcos.head.regression_head
        # torchvision's ReLU after this layer can get stuck at 0 for every box (seen with one seed of two)
        boxes.bbox_reg = nn.Sequential(boxes.bbox_reg, nn.Softplus())
        self.fcos.transform = _AsTheyAre(0, 0, [0.0] * 3 * pictures, [1.0] * 3 * pictures)  # the backbones normalise

    def losses(self, pictures: Sequence[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Loss terms by name, in training mode.

        Args:
            pictures: (3P, h, w) each, in [0, 1].
            targets: ``boxes`` (n, 4) and ``labels`` (n,) of each.
        """
        return self.fcos(list(pictures), targets)

    @torch.no_grad()
    def forward(self, pictures: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """``boxes`` (n, 4), ``scores`` and ``labels`` (n,) of each picture (3P, h, w) in [0, 1], in eval mode."""
        return self.fcos(list(pictures))
