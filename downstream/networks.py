"""The segmenters to compare: for one picture, for a pair (early or late fusion), for features of a pair."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from downstream.backbone import Backbone
from downstream.heads import PyramidHead, UperHead
from downstream.pyramid import LAYERS, FeaturePyramid
from models.defusion import DeFusionPP
from models.registry import MODELS, model_from_options
from models.weights import load_weights
from option.schema import Options
from utils.errors import UserError

# Parts of the network that its features do not use: they decode pictures.
_PICTURES_ONLY = ("encoder.norm.", "common_block.", "unique_block.", "fuse_block.", "common_head.", "unique_head.",
                  "fuse_head.", "mask_token", "mfm_")
_STRIDE = 32


class PictureSegmenter(nn.Module):
    """Classes from one picture, or from a pair as six channels (early fusion).

    Args:
        classes: number of classes.
        pictures: 1, or 2 for a pair.
        width: channels of the head.
        pretrained: see ``Backbone``.
    """

    def __init__(self, classes: int, *, pictures: int = 1, width: int = 128, pretrained: bool = True) -> None:
        super().__init__()
        self.backbone = Backbone(pictures=pictures, pretrained=pretrained)
        self.head = PyramidHead(self.backbone.channels, classes, width=width)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes, H, W) of pictures (B, 3P, H, W) in [0, 1]."""
        return _enlarged(self.head(self.backbone(x)), x)


class LateSegmenter(nn.Module):
    """Classes from a pair, with a backbone for each picture and summed maps (late fusion).

    Args:
        classes, width, pretrained: as in ``PictureSegmenter``.
    """

    def __init__(self, classes: int, *, width: int = 128, pretrained: bool = True) -> None:
        super().__init__()
        self.backbones = nn.ModuleList(Backbone(pretrained=pretrained) for _ in range(2))
        self.head = PyramidHead(self.backbones[0].channels, classes, width=width)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes, H, W) of pairs (B, 6, H, W) in [0, 1]."""
        first, second = (backbone(part) for backbone, part in zip(self.backbones, x.chunk(2, dim=1)))
        return _enlarged(self.head([a + b for a, b in zip(first, second)]), x)


class FeatureSegmenter(nn.Module):
    """Classes from the features of a pair, with the published head.

    Args:
        network: computes the features.
        classes: number of classes.
        width: channels of the head; published: 128.
        freeze: do not train the network.

    Raises:
        UserError: the encoder has fewer layers than the pyramid needs.
    """

    def __init__(self, network: DeFusionPP, classes: int, *, width: int = 128, freeze: bool = False) -> None:
        super().__init__()
        if len(network.encoder.blocks) < max(LAYERS):
            raise UserError(f"network_G.depth: {len(network.encoder.blocks)} blocks; the head takes the lists "
                            f"{', '.join(map(str, LAYERS))} of the encoder, give {max(LAYERS)} or more")
        self.network, self.frozen = network, freeze
        for name, weight in network.named_parameters():
            if freeze or name.startswith(_PICTURES_ONLY):
                weight.requires_grad_(False)
        self.pyramid = FeaturePyramid(width=network.encoder.embed_dim, heads=network.fuse_cross.num_heads)
        self.head = UperHead(self.pyramid.channels, classes, width=width)

    def train(self, mode: bool = True) -> "FeatureSegmenter":
        """Set the mode; a frozen network stays in eval mode, without dropout."""
        super().train(mode)
        if self.frozen:
            self.network.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes, H, W) of pairs (B, 6, H, W) in [0, 1]; the pairs are padded at the right and bottom to
        multiples of 32 by replication."""
        height, width = x.shape[-2:]
        padded = F.pad(x, (0, -width % _STRIDE, 0, -height % _STRIDE), mode="replicate")
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features = self.network.features(*padded.chunk(2, dim=1))
        return _enlarged(self.head(self.pyramid(features)), padded)[..., :height, :width]


def segmenter_from_options(options: Options, *, start: bool = True) -> nn.Module:
    """Build the segmenter described by the options.

    Args:
        options: options of the run.
        start: load initial weights, of ImageNet or of ``path.pretrain_model_G``; False if a checkpoint is loaded later.

    Raises:
        UserError: a model without features, or weights that cannot be loaded.
    """
    settings = options.downstream
    count, width, pretrained = len(settings.classes), settings.width, settings.pretrained and start
    if settings.input == "late":
        return LateSegmenter(count, width=width, pretrained=pretrained)
    if settings.input in ("picture", "early"):
        pictures = 1 if settings.input == "picture" else 2
        return PictureSegmenter(count, pictures=pictures, width=width, pretrained=pretrained)
    kind = MODELS.get(options.model, where=options.at("model"))
    if not (isinstance(kind, type) and issubclass(kind, DeFusionPP)):
        raise UserError(f"{options.at('model')}: {options.model} gives no features of a pair; give DeFusionPP")
    network = model_from_options(options)
    if start and options.path.pretrain_model_G:
        load_weights(network, options.path.pretrain_model_G, strict=options.path.strict_load, start=True)
    return FeatureSegmenter(network, count, width=width, freeze=settings.freeze)


def _enlarged(logits: Tensor, x: Tensor) -> Tensor:
    return F.interpolate(logits, x.shape[-2:], mode="bilinear", align_corners=False)
