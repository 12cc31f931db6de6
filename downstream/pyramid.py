"""Converts the tokens of a pair to maps with four strides, for dense prediction heads."""

from torch import Tensor, nn

from models.features import PairFeatures
from models.layers import CrossBlock

LAYERS = (3, 5, 7)


class FeaturePyramid(nn.Module):
    """Maps of strides 4, 8, 16 and 32 from the features of a pair.

        maps = FeaturePyramid()(network.features(infrared, visible))

    As published: the encoder layers 3, 5 and 7 of both pictures, joined by a cross block each, make the three finer
    maps, and the fused tokens the coarsest. All tokens have stride 16; transposed convolutions and max pooling change
    it. Ours: the query of a cross block comes from the second (visible) picture; the fused tokens pass a LayerNorm,
    since the cross blocks end with one.

    Args:
        width: width D of the tokens.
        heads: heads of the cross blocks; must divide ``width``.
        layers: encoder layers to join, finest first.
    """

    def __init__(self, *, width: int = 192, heads: int = 16, layers: tuple[int, int, int] = LAYERS) -> None:
        super().__init__()
        self.layers = layers
        self.channels = [width] * 4
        self.joins = nn.ModuleList(CrossBlock(width, heads) for _ in layers)
        self.fused_norm = nn.LayerNorm(width)
        self.scales = nn.ModuleList([
            nn.Sequential(nn.ConvTranspose2d(width, width, 2, stride=2), nn.GroupNorm(1, width), nn.GELU(),
                          nn.ConvTranspose2d(width, width, 2, stride=2)),
            nn.ConvTranspose2d(width, width, 2, stride=2),
            nn.Identity(),
            nn.MaxPool2d(2, ceil_mode=True),
        ])

    def forward(self, features: PairFeatures) -> list[Tensor]:
        """Four maps, finest first: (B, D, 4h, 4w), (B, D, 2h, 2w), (B, D, h, w) and (B, D, h/2, w/2), rounded up."""
        tokens = [join(features.layers1[layer], features.layers2[layer])
                  for join, layer in zip(self.joins, self.layers)]
        tokens.append(self.fused_norm(features.fused))
        return [scale(features.as_map(level)) for scale, level in zip(self.scales, tokens)]
