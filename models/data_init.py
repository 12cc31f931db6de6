"""Initialisation from training data: ``train.init: data`` (docs/TRAINING.md).

The patch embedding is set to principal components of training patches, the pixel heads to the ridge regression of
their targets on the features of the untrained network. All other weights stay random.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.defusion import DeFusionPP
from models.layers import pixels_to_tokens
from models.protocol import Truth

RIDGE = 1e-3  # relative to the mean square of a feature


@torch.no_grad()
def initialise_from_data(model: DeFusionPP, samples: Sequence[Truth],
                         generators: Mapping[str, torch.Generator]) -> None:
    """Set the patch embedding and the four pixel heads of an untrained network.

    Args:
        model: the network; set to eval mode.
        samples: training samples, a few thousand patches in total.
        generators: ``order`` draws the rotation, ``mfm`` the kept patches.
    """
    model.eval()
    pictures = torch.cat([torch.cat([sample.x1, sample.x2]) for sample in samples])
    embed_principal_components(model.encoder.patch_embed.proj, model.normalise(pictures), generators["order"])
    fits = {head: _Regression() for head in (model.common_head, model.unique_head, model.fuse_head, model.mfm_head)}
    hooks = [head.register_forward_hook(fit.see) for head, fit in fits.items()]
    for sample in samples:
        patches = sample.x1.shape[2] * sample.x1.shape[3] // model.patch_size**2
        noise = torch.rand(len(sample.x1), patches, generator=generators["mfm"], device=sample.x1.device)
        model(sample.x1, sample.x2, noise)
        targets = sample.common, torch.cat([sample.unique1, sample.unique2]), sample.target, sample.target
        for fit, target in zip(fits.values(), targets):
            fit.add(pixels_to_tokens(target, model.patch_size))
    for hook in hooks:
        hook.remove()
    for head, fit in fits.items():
        fit.solve(head)


@torch.no_grad()
def embed_principal_components(conv: nn.Conv2d, x: Tensor, generator: torch.Generator) -> None:
    """Set a patch embedding to the principal components of patches, which preserve most of their content.

    Its outputs are the D strongest principal components, half whitened (each divided by the square root of its
    standard deviation) and randomly rotated, with mean 0 and mean square 1.

    Args:
        conv: weight (D, 3, P, P) and stride P, with D at most 3 P².
        x: input of the embedding, (B, 3, H, W), H and W multiples of P.
        generator: draws the rotation, on the CPU.
    """
    patches = F.unfold(x.float(), conv.kernel_size, stride=conv.stride).transpose(1, 2).flatten(0, 1).double()
    mean = patches.mean(0)
    variances, directions = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    variances, directions = variances[-len(conv.weight):].clamp(min=1e-12), directions[:, -len(conv.weight):]
    white = directions * variances.rsqrt().sqrt() / variances.sqrt().mean().sqrt()
    random = torch.randn(len(conv.weight), len(conv.weight), generator=generator, dtype=torch.float64)
    weight = torch.linalg.qr(random)[0].to(white.device) @ white.T
    conv.weight.copy_(weight.view_as(conv.weight))
    conv.bias.copy_(-weight @ mean)


class _Regression:
    """Ridge regression from a head's inputs (and a constant) to its targets."""

    def __init__(self) -> None:
        self._seen: Tensor | None = None
        self._square: Tensor | float = 0.0
        self._product: Tensor | float = 0.0

    def see(self, head: nn.Linear, inputs: tuple[Tensor], output: Tensor) -> None:
        """Store the features (B, 1 + N, D) of the patches, without the class token."""
        self._seen = inputs[0][:, 1:].flatten(0, 1).double()

    def add(self, targets: Tensor) -> None:
        """Add the targets (B, N, P) of the features stored last."""
        features = F.pad(self._seen, (0, 1), value=1.0)
        self._square = self._square + features.T @ features
        self._product = self._product + features.T @ targets.flatten(0, 1).double()

    def solve(self, head: nn.Linear) -> None:
        """Set the head's weight and bias."""
        square = self._square
        ridge = RIDGE * square.diagonal()[:-1].mean() * torch.ones_like(square.diagonal())
        ridge[-1] = 0.0  # no penalty on the bias
        solution = torch.linalg.solve(square + ridge.diag(), self._product)
        head.weight.copy_(solution[:-1].T)
        head.bias.copy_(solution[-1])
