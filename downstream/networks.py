"""Networks for downstream tasks: an input (pictures, pairs, features of pairs) and a head for the task."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from downstream.backbone import Backbone, TwoBackbones
from downstream.detector import Detector, LevelsOfMaps, LevelsOfTokens
from downstream.heads import PyramidHead, UperHead
from downstream.pyramid import LAYERS, FeaturePyramid
from models.defusion import DeFusionPP
from models.features import PairFeatures
from models.registry import MODELS, model_from_options
from models.weights import load_weights
from option.schema import Options
from utils.errors import UserError

# Parts of the network that only draw pictures; its features do not pass them.
_PICTURES_ONLY = ("encoder.norm.", "common_block.", "unique_block.", "fuse_block.", "common_head.", "unique_head.",
                  "fuse_head.", "mask_token", "mfm_")
_GROUPS_OF_FCOS = 32  # of the GroupNorm in torchvision's head


class PairNetwork(nn.Module):
    """A network that computes features of pairs, trained or frozen.

    Args:
        network: computes the features. Its weights that only draw pictures are not trained.
        freeze: train no weight; the network stays in eval mode, without dropout.
    """

    def __init__(self, network: DeFusionPP, *, freeze: bool = False) -> None:
        super().__init__()
        self.network, self.frozen = network, freeze
        for name, weight in network.named_parameters():
            if freeze or name.startswith(_PICTURES_ONLY):
                weight.requires_grad_(False)

    def train(self, mode: bool = True) -> "PairNetwork":
        """Set the mode; a frozen network stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.network.eval()
        return self

    def forward(self, x: Tensor) -> PairFeatures:
        """Features of pairs (B, 6, H, W) in [0, 1], H and W multiples of 16."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.network.features(*x.chunk(2, dim=1))


class FeatureMaps(nn.Sequential):
    """Maps of strides 4, 8, 16 and 32 from the features of a pair, as published for segmentation.

    Args:
        pair: computes the features.
    """

    multiple = 32

    def __init__(self, pair: PairNetwork) -> None:
        pyramid = FeaturePyramid(width=pair.network.encoder.embed_dim, heads=pair.network.fuse_cross.num_heads)
        super().__init__(pair, pyramid)
        self.channels = pyramid.channels


class Segmenter(nn.Module):
    """A class for each pixel.

    Args:
        maps: maps pictures to feature maps of strides 4, 8, 16 and 32; has ``multiple``.
        head: maps these to logits.
    """

    def __init__(self, maps: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.maps, self.head = maps, head

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes, H, W) of pictures (B, 3P, H, W) in [0, 1]; they are padded at the right and bottom to
        multiples of ``maps.multiple`` by replication."""
        height, width = x.shape[-2:]
        multiple = self.maps.multiple
        padded = F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        logits = self.head(self.maps(padded))
        return F.interpolate(logits, padded.shape[-2:], mode="bilinear", align_corners=False)[..., :height, :width]


def network_from_options(options: Options, *, start: bool = True) -> nn.Module:
    """Build the segmenter or detector described by the options. Weights outside of the backbone or model get an
    attribute ``lr_scale``, see ``utils.engine.optimisation.build_optimizer``.

    Args:
        options: options of the run.
        start: load initial weights, of ImageNet or of ``path.pretrain_model_G``; False if a checkpoint is loaded later.

    Raises:
        UserError: a model without features, weights that cannot be loaded, or a width that does not fit.
    """
    network = _network(options, start)
    starts = {id(weight) for module in network.modules() if isinstance(module, (Backbone, DeFusionPP))
              for weight in module.parameters()}
    for weight in network.parameters():
        if id(weight) not in starts:
            weight.lr_scale = options.downstream.head_rate
    return network


def _network(options: Options, start: bool) -> nn.Module:
    settings = options.downstream
    classes, width = len(settings.classes), settings.width
    pictures = 1 if settings.input == "picture" else 2
    if settings.task == "detection" and width % _GROUPS_OF_FCOS:
        raise UserError(f"{options.at('downstream.width')}: {width}; a detector needs a multiple of {_GROUPS_OF_FCOS}")
    if settings.input == "features":
        pair = _pair_network(options, start)
        if settings.task == "detection":
            return Detector(LevelsOfTokens(pair, pair.network.encoder.embed_dim, width), classes, pictures=pictures)
        maps = FeatureMaps(pair)
        return Segmenter(maps, UperHead(maps.channels, classes, width=width))
    pretrained = settings.pretrained and start
    common = {"pretrained": pretrained, "freeze_norms": settings.freeze_norms}
    maps = TwoBackbones(**common) if settings.input == "late" else Backbone(pictures=pictures, **common)
    network = (Detector(LevelsOfMaps(maps, width), classes, pictures=pictures) if settings.task == "detection"
               else Segmenter(maps, PyramidHead(maps.channels, classes, width=width)))
    return network.to(memory_format=torch.channels_last)  # 1.3 to 1.8 times faster steps on a CPU


def _pair_network(options: Options, start: bool) -> PairNetwork:
    kind = MODELS.get(options.model, where=options.at("model"))
    if not (isinstance(kind, type) and issubclass(kind, DeFusionPP)):
        raise UserError(f"{options.at('model')}: {options.model} has no features of a pair; give DeFusionPP")
    network = model_from_options(options)
    if len(network.encoder.blocks) < max(LAYERS):
        raise UserError(f"{options.at('network_G.depth')}: {len(network.encoder.blocks)} blocks; the head takes the "
                        f"lists {', '.join(map(str, LAYERS))} of the encoder, give {max(LAYERS)} or more")
    if start and options.path.pretrain_model_G:
        load_weights(network, options.path.pretrain_model_G, strict=options.path.strict_load, start=True)
    return PairNetwork(network, freeze=options.downstream.freeze)
