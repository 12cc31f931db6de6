"""What the full-resolution head learns from: structure and edges without truth, brightness, truth where it is true.

Shape letters: B pairs, H x W pixels.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import pyramid
from models.highres import HRDecomposition
from models.losses import CUDLoss, ssim_map
from models.registry import LOSSES
from utils.pictures.colour import luma

SMALLEST = 1e-6  # of a variance; below it there is no structure
LARGEST_POWER = 10.0
CONSTANT = 0.03**2


def structural_map(fused: Tensor, source1: Tensor, source2: Tensor, window: int = 9) -> Tensor:
    """How far the fused picture is from keeping the stronger local structure of its sources, window by window.

    The form of MEF-SSIM (Ma, Zeng and Wang 2015) on luma, without its luminance term. In a window with the means
    removed, c_k = ||x_k|| is a source's contrast; wanted are the contrast max(c_1, c_2) and the direction of
    sum of w_k x_k / c_k with w_k = (c_k / max c)^p, p = tan(pi R / 2) up to 10, R = ||x_1 + x_2|| / (c_1 + c_2).
    The result is 1 - (2 <wanted, f> + C) / (|wanted|^2 + |f|^2 + C), C = 0.03^2, norms as variances.

    Args:
        fused, source1, source2: luma (B, 1, H, W) in [0, 1]; gradients flow to ``fused`` alone.
        window: side of the windows, at most H and W.

    Returns:
        (B, 1, H - window + 1, W - window + 1), in [0, 2]: 0 where the fused picture shows what is wanted.
    """
    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(F.avg_pool2d(x, (window, 1), stride=1), (1, window), stride=1)

    means = [mean(x) for x in (source1, source2, fused)]

    def product(x: Tensor, y: Tensor, mean_x: Tensor, mean_y: Tensor) -> Tensor:
        return mean(x * y) - mean_x * mean_y

    with torch.no_grad():
        power1 = product(source1, source1, means[0], means[0]).clamp(min=SMALLEST)
        power2 = product(source2, source2, means[1], means[1]).clamp(min=SMALLEST)
        between = product(source1, source2, means[0], means[1])
        share1, share2, wanted_power = _wanted(power1, power2, between)
    own = product(fused, fused, means[2], means[2]).clamp(min=0)
    along = share1 * product(source1, fused, means[0], means[2]) + share2 * product(source2, fused, means[1], means[2])
    return 1 - (2 * along + CONSTANT) / (wanted_power + own + CONSTANT)


def _wanted(power1: Tensor, power2: Tensor, between: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shares a_k with wanted structure = a_1 x_1 + a_2 x_2, and its power, from the sources' (co)variances."""
    c1, c2 = power1.sqrt(), power2.sqrt()
    largest = torch.maximum(c1, c2)
    agreement = (power1 + power2 + 2 * between).clamp(min=0).sqrt() / (c1 + c2)
    p = torch.tan(torch.pi / 2 * agreement.clamp(max=2 / torch.pi * _ATAN)).clamp(max=LARGEST_POWER)
    a1, a2 = (c1 / largest) ** p / c1, (c2 / largest) ** p / c2
    length = (a1.square() * power1 + a2.square() * power2 + 2 * a1 * a2 * between).clamp(min=SMALLEST).sqrt()
    return largest * a1 / length, largest * a2 / length, largest.square()


_ATAN = float(torch.atan(torch.tensor(LARGEST_POWER)))


def structural_loss(fused: Tensor, source1: Tensor, source2: Tensor, windows: Sequence[int] = (9,),
                    shrinks: Sequence[int] = (1,)) -> Tensor:
    """Mean of :func:`structural_map` over a picture, the windows' sides and the scales: RGB (B, 3, H, W) -> (B,).

    Args:
        windows: sides of the windows in pixels of the scale.
        shrinks: scales, each by how much the pictures are shrunk first. Windows on shrunk pictures judge how the
            brightness of whole regions differs; where a scale has no room for a window, that window is left out.
    """
    pictures, values = [luma(x.float()) for x in (fused, source1, source2)], []
    for shrink in shrinks:
        small = [F.avg_pool2d(x, shrink) if shrink > 1 else x for x in pictures]
        values += [structural_map(*small, window).mean(dim=(1, 2, 3))
                   for window in windows if window <= min(small[0].shape[-2:])]
    return torch.stack(values).mean(dim=0)


def texture_loss(fused: Tensor, source1: Tensor, source2: Tensor) -> Tensor:
    """How far the fused picture's luma gradients are from the stronger of its sources', RGB (B, 3, H, W) -> (B,).

    The L1 norm of the difference of the two Sobel derivatives, each in luma a pixel; wanted at each pixel are both
    derivatives of the source whose gradient is longer there. The texture loss of Tang et al. 2022 (PIAFusion),
    with the gradient's direction instead of its absolute values.
    """
    got, first, second = (sobel(luma(x.float())) for x in (fused, source1, source2))
    stronger = first.square().sum(dim=1, keepdim=True) > second.square().sum(dim=1, keepdim=True)
    return (got - torch.where(stronger, first, second)).abs().mean(dim=(1, 2, 3))


def sobel(x: Tensor) -> Tensor:
    """Sobel derivatives along x and y, replicate border: (B, 1, H, W) -> (B, 2, H, W) in units a pixel."""
    across = F.pad(x, (1, 1, 1, 1), mode="replicate")
    rows = (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]) / 8
    columns = (across[..., :-2] + 2 * across[..., 1:-1] + across[..., 2:]) / 8
    return torch.cat([rows[..., 2:] - rows[..., :-2], columns[..., 2:, :] - columns[..., :-2, :]], dim=1)


def selection_loss(weights: Sequence[Tensor], share: Tensor) -> Tensor:
    """How far the weights of all bands and the base are from who is sharp where, -> (B,).

    The mean absolute difference: unlike a cross entropy it asks for a decision, not for odds.

    Args:
        weights: of the first picture, L + 1 tensors (B, 1, h, w) in [0, 1], finest first.
        share: (B, 1, H, W) in [0, 1]: 1 where the first picture alone is sharp, 0 where the second is.
    """
    shares = pyramid.gaussian_pyramid(share, len(weights) - 1)
    return torch.stack([(weight - wanted).abs().mean(dim=(1, 2, 3))
                        for weight, wanted in zip(weights, shares)]).mean(dim=0)


BaseRule = Literal["structure", "exposure", "average"]
STRUCTURE_GAIN = 0.5


def wanted_base(bases: Tensor, rule: BaseRule, energy: Tensor | None = None) -> Tensor:
    """What the base should be when there is no truth.

    Args:
        bases: (2, B, 3, h, w).
        rule: "structure": weighted by the square root of the coarsest band's energy, so brightness gently follows
            the picture that shows more there; "exposure": by how near to mid grey each is; "average".
        energy: logarithm of the coarsest band's, (2, B, 1, H, W), for "structure".

    Returns:
        (B, 3, h, w).
    """
    if rule == "structure":
        logits = pyramid.shrink(STRUCTURE_GAIN * energy.flatten(0, 1)).unflatten(0, energy.shape[:2])
        return pyramid.mix(bases, pyramid.mixing_weights(logits))
    if rule == "exposure":
        return pyramid.mix(bases, pyramid.mixing_weights(pyramid.exposure_logits(bases)))
    return pyramid.average_base(bases)


@LOSSES.register("HRLoss")
class HRLoss(nn.Module):
    """Losses of ``DeFusionPPHR``: the published ones on its patch-resolution outputs, and the head's own.

    The head's terms, each over the samples where it holds (``Sample.head``, ``Sample.truth``), divided by the size
    of the whole batch, so that a sample weighs the same whatever its neighbours are:

    - structure, :func:`structural_loss`, and texture, :func:`texture_loss`, against the pair before noise and
      glare (``clean1``, ``clean2``);
    - base: L1 of the mixed base against the undamaged photograph's, or :func:`wanted_base`, or between;
    - truth: L1 + DSSIM against the photograph, only where every pixel of it can be had (focus);
    - selection: :func:`selection_loss` against the known masks, in the same samples: one decision for all bands.

    Samples with ``head`` 0 (noise) reach the transformer's published losses only.

    Args:
        published: weight of the published losses.
        structure, texture, base, truth, selection: weights of the head's terms.
        base_mix: how far the base's target moves from the photograph's base to what ``base_rule`` wants, in [0, 1].
        base_rule: see :func:`wanted_base`; "average" with a mix of 1 keeps the baseline's.
        windows, shrinks: sides and scales of the structural windows.
        **cud: weights of ``CUDLoss``.
    """

    wants_sample = True

    def __init__(self, *, published: float = 1.0, structure: float = 5.0, texture: float = 40.0, base: float = 0.0,
                 truth: float = 0.0, selection: float = 4.0, base_mix: float = 0.0,
                 base_rule: BaseRule = "structure", windows: Sequence[int] = (9,),
                 shrinks: Sequence[int] = (2, 4, 8), **cud: float) -> None:
        super().__init__()
        if any(window < 3 or window % 2 == 0 for window in windows):
            raise ValueError(f"HRLoss: windows={tuple(windows)}; give odd sides from 3 up")
        self.published, self.structure, self.base, self.truth = published, structure, base, truth
        self.texture, self.selection = texture, selection
        self.base_mix, self.base_rule, self.windows = base_mix, base_rule, tuple(windows)
        self.shrinks = tuple(shrinks)
        self.cud = CUDLoss(**cud)

    def forward(self, out: HRDecomposition, sample) -> dict[str, Tensor]:
        """Weighted terms, and ``total_loss``.

        Args:
            out: the model's training output.
            sample: the ``Sample`` that it saw.
        """
        terms = self.head_terms(out, sample)
        total = sum(terms.values())
        if out.patches is not None:
            published = self.cud(out.patches, sample.common, sample.unique1, sample.unique2, sample.target)
            total = total + self.published * published.pop("total_loss")
            terms = published | terms
        return terms | {"total_loss": total}

    def head_terms(self, out: HRDecomposition, sample) -> dict[str, Tensor]:
        """The head's terms for a synthetic batch; terms of weight 0 are not computed."""
        fused, target, head, true = out.fused.float(), sample.target, sample.head, sample.head * sample.truth
        terms = {}
        if self.structure:
            structure = structural_loss(fused, sample.clean1, sample.clean2, self.windows, self.shrinks)
            terms["head_structure"] = self.structure * _held(structure, head)
        if self.texture:
            terms["head_texture"] = self.texture * _held(texture_loss(fused, sample.clean1, sample.clean2), head)
        if self.base:
            wanted = pyramid.gaussian_pyramid(target, len(out.weights) - 1)[-1]
            if self.base_mix > 0:
                wanted = torch.lerp(wanted, wanted_base(out.bases, self.base_rule, out.energies[-1]), self.base_mix)
            terms["head_base"] = self.base * _held((out.base - wanted).abs().mean(dim=(1, 2, 3)), head)
        if self.truth:
            dissimilar = ((1 - ssim_map(fused, target)) / 2).clamp(0, 1).mean(dim=(1, 2, 3))
            truth = (fused - target).abs().mean(dim=(1, 2, 3)) + 0.5 * dissimilar
            terms["head_truth"] = self.truth * _held(truth, true)
        if self.selection:
            share = (1 + sample.mask1 - sample.mask2) / 2
            terms["head_selection"] = self.selection * _held(selection_loss(out.weights, share), true)
        return terms


def _held(values: Tensor, holds: Tensor) -> Tensor:
    """Mean over the batch of the values of those samples for which a term holds."""
    return (values * holds).mean()
