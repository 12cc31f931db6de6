"""Losses of the full-resolution head: structure and edges without ground truth, brightness, and ground truth.

Shape letters: B pairs, H x W pixels.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import pyramid
from models.head_parts import HRDecomposition
from models.losses import CUDLoss, ssim_map
from models.protocol import ROLES, TASKS, Role
from models.registry import LOSSES
from models.targets import target_loss
from utils.pictures.colour import luma

SMALLEST = 1e-6  # variance below which there is no structure
LARGEST_POWER = 10.0
CONSTANT = 0.03**2


def structural_map(fused: Tensor, sources: Sequence[Tensor], window: int = 9,
                   present: Tensor | None = None) -> Tensor:
    """Distance of the fused picture from the strongest local structure of its sources, window by window.

    MEF-SSIM (Ma, Zeng and Wang 2015) on luma, without its luminance term. In a window with the means removed,
    c_k = ||x_k|| is the contrast of a source. The wanted structure has the contrast max c_k and the direction of the
    sum over k of w_k x_k / c_k with w_k = (c_k / max c)^p, p = tan(pi R / 2) at most 10, R = ||sum x_k|| / sum c_k.
    The result is 1 - (2 <wanted, f> + C) / (|wanted|^2 + |f|^2 + C), C = 0.03^2, with variances as norms.

    Args:
        fused: luma (B, 1, H, W) in [0, 1]; the only input that receives gradients.
        sources: luma of the sources, each shaped like ``fused``.
        window: side of the windows, at most H and W.
        present: (N, B) bool, which sources a scene has; None: all.

    Returns:
        (B, 1, H - window + 1, W - window + 1) in [0, 2]; 0 where the fused picture has the wanted structure.
    """
    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(F.avg_pool2d(x, (window, 1), stride=1), (1, window), stride=1)

    there = fused.new_ones(len(sources), 1, 1, 1, 1) if present is None else present[..., None, None, None].to(fused)
    sources = [x * kept for x, kept in zip(sources, there)]
    means, own_mean = [mean(x) for x in sources], mean(fused)
    with torch.no_grad():
        powers = [(mean(x * x) - m * m).clamp(min=SMALLEST) for x, m in zip(sources, means)]
        between = {(i, j): mean(sources[i] * sources[j]) - means[i] * means[j]
                   for i, j in combinations(range(len(sources)), 2)}
        shares, wanted_power = _wanted(powers, between, there)
    own = (mean(fused * fused) - own_mean * own_mean).clamp(min=0)
    along = sum(share * (mean(x * fused) - m * own_mean) for share, x, m in zip(shares, sources, means))
    return 1 - (2 * along + CONSTANT) / (wanted_power + own + CONSTANT)


def _wanted(powers: list[Tensor], between: dict[tuple[int, int], Tensor],
            there: Tensor) -> tuple[list[Tensor], Tensor]:
    """Shares a_k such that the wanted structure is the sum of a_k x_k, and its power, from (co)variances of sources.

    Args:
        there: for each source 1, or 0 where it is missing from a scene.
    """
    contrasts = [power.sqrt() for power in powers]
    largest = torch.stack(contrasts).amax(dim=0)
    both = sum(power * kept for power, kept in zip(powers, there)) + 2 * sum(between.values())
    agreement = both.clamp(min=0).sqrt() / sum(c * kept for c, kept in zip(contrasts, there))
    p = torch.tan(torch.pi / 2 * agreement.clamp(max=2 / torch.pi * _ATAN)).clamp(max=LARGEST_POWER)
    a = [kept * (c / largest) ** p / c for c, kept in zip(contrasts, there)]
    length = sum(share.square() * power for share, power in zip(a, powers))
    length = length + 2 * sum(a[i] * a[j] * value for (i, j), value in between.items())
    length = length.clamp(min=SMALLEST).sqrt()
    return [largest * share / length for share in a], largest.square()


_ATAN = float(torch.atan(torch.tensor(LARGEST_POWER)))


def structural_loss(fused: Tensor, sources: Sequence[Tensor], windows: Sequence[int] = (9,),
                    shrinks: Sequence[int] = (1,), present: Tensor | None = None) -> Tensor:
    """Mean of :func:`structural_map` over a picture, the windows' sides and the scales: RGB (B, 3, H, W) -> (B,).

    Args:
        windows: sides of the windows in pixels of the scale.
        shrinks: scales, as reduction factors. Windows on reduced pictures compare the brightness of regions. A window
            larger than the reduced picture is omitted.
        present: as in :func:`structural_map`.
    """
    pictures, values = [luma(x.float()) for x in (fused, *sources)], []
    for shrink in shrinks:
        seen, *small = [F.avg_pool2d(x, shrink) if shrink > 1 else x for x in pictures]
        values += [structural_map(seen, small, window, present).mean(dim=(1, 2, 3))
                   for window in windows if window <= min(seen.shape[-2:])]
    return torch.stack(values).mean(dim=0)


def texture_loss(fused: Tensor, sources: Sequence[Tensor]) -> Tensor:
    """Distance of the fused picture's luma gradients from the strongest gradients of its sources, (B, 3, H, W) -> (B,).

    The L1 distance of the two Sobel derivatives, in luma per pixel, to those of the source with the longest gradient at
    each pixel. The texture loss of Tang et al. 2022 (PIAFusion), with signed derivatives instead of absolute values.
    """
    got, wanted, *others = (sobel(luma(x.float())) for x in (fused, *sources))
    for other in others:
        longer = wanted.square().sum(dim=1, keepdim=True) > other.square().sum(dim=1, keepdim=True)
        wanted = torch.where(longer, wanted, other)
    return (got - wanted).abs().mean(dim=(1, 2, 3))


def sobel(x: Tensor) -> Tensor:
    """Sobel derivatives along x and y, replicated border: (B, 1, H, W) -> (B, 2, H, W), per pixel."""
    across = F.pad(x, (1, 1, 1, 1), mode="replicate")
    rows = (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]) / 8
    columns = (across[..., :-2] + 2 * across[..., 1:-1] + across[..., 2:]) / 8
    return torch.cat([rows[..., 2:] - rows[..., :-2], columns[..., 2:, :] - columns[..., :-2, :]], dim=1)


def selection_loss(weights: Sequence[Tensor], shares: Tensor, present: Tensor | None = None) -> Tensor:
    """Distance of the weights of all bands and the base from the sharp picture at each pixel, -> (B,).

    The mean absolute difference, which unlike cross entropy rewards hard decisions.

    Args:
        weights: weights of the pictures, L + 1 tensors (N, B, 1, h, w) in [0, 1], finest first.
        shares: (N, B, 1, H, W) in [0, 1], summing to 1 over N; 1 where only this picture is sharp.
        present: (N, B) bool, which pictures a scene has; the others have weights and shares of 0. None: all.
    """
    wanted = pyramid.gaussian_pyramid(shares.flatten(0, 1), len(weights) - 1)
    apart = [(weight - share.view_as(weight)).abs().mean(dim=(2, 3, 4)).sum(dim=0)
             for weight, share in zip(weights, wanted)]
    return torch.stack(apart).mean(dim=0) / (len(shares) if present is None else present.sum(dim=0))


def shares_of(masks: Tensor) -> Tensor:
    """Wanted share of each picture in the decision, (N, B, 1, H, W) -> the same.

    Content kept equally by k pictures is divided among them. For two pictures with masks 1 and m, the shares are
    1 - m / 2 and m / 2.

    Args:
        masks: share of the target that each picture keeps, in [0, 1]; the largest is 1 at every pixel.
    """
    values, ranks = masks.sort(dim=0, descending=True)
    steps = values - torch.cat([values[1:], torch.zeros_like(values[:1])])
    count = torch.arange(1, len(masks) + 1, device=masks.device).view(-1, 1, 1, 1, 1)
    by_rank = (steps / count).flip(0).cumsum(dim=0).flip(0)
    return torch.zeros_like(masks).scatter(0, ranks, by_rank)


EXPOSURE_WINDOW, EXPOSURE_SHRINKS = 11, (1, 2, 4)  # as in the metric MEF_SSIM
CLIPPING = 10.0
BaseRule = Literal["structure", "exposure", "average"]
STRUCTURE_GAIN = 0.5


def wanted_base(bases: Tensor, rule: BaseRule, energy: Tensor | None = None, present: Tensor | None = None) -> Tensor:
    """The wanted base if there is no ground truth.

    Args:
        bases: (N, B, 3, h, w).
        rule: "structure": weighted by the square root of the coarsest band's energy, so that brightness moderately
            follows the picture with more structure; "exposure": weighted by the closeness to mid grey; "average".
        energy: logarithm of the coarsest band's energy, (N, B, 1, H, W), for "structure".
        present: (N, B) bool, which pictures a scene has; None: all.

    Returns:
        (B, 3, h, w).
    """
    if rule == "structure":
        logits = pyramid.shrink(STRUCTURE_GAIN * energy.flatten(0, 1)).unflatten(0, energy.shape[:2])
    elif rule == "exposure":
        logits = pyramid.exposure_logits(bases)
    else:
        logits = torch.zeros_like(bases[:, :, :1])
    if present is not None:
        logits = logits.masked_fill(~present[..., None, None, None], -torch.inf)
    return pyramid.mix(bases, pyramid.mixing_weights(logits))


@LOSSES.register("HRLoss")
class HRLoss(nn.Module):
    """Losses of the head and, if there is a transformer, the published losses on its pictures.

    The terms of the head, each summed over the samples to which it applies (``Sample.head``, ``Sample.truth``) and
    divided by the size of the whole batch, so that the weight of a sample does not depend on the others:

    - structure, :func:`structural_loss`, and texture, :func:`texture_loss`, against the pictures before
      noise and glare (``clean``);
    - base: L1 of the mixed base against that of the undamaged photograph, :func:`wanted_base`, or a mix of both;
    - truth: L1 + DSSIM against the photograph, only in samples where every pixel can be recovered (focus);
    - selection: :func:`selection_loss` against the known masks, in the same samples: one decision for all bands
      and, if the head chooses, for the source pixels;
    - target: :func:`target_loss` of `models/targets.py`, in samples with an infrared picture;
    - exposure: in exposure samples, :func:`structural_loss` at full, half and quarter size of the picture clipped to
      [0, 1], and the amount clipped; brightness: L1 of the base against that of the photograph.

    Samples with ``head`` 0 (noise) affect only the published losses of the transformer.

    Args:
        published: weight of the published losses.
        structure, texture, base, truth, selection, target, exposure, brightness: weights of the head's terms.
        base_mix: position of the base's target between the photograph's base (0) and that of ``base_rule`` (1).
        base_rule: see :func:`wanted_base`; "average" with a mix of 1 keeps the base of the baseline.
        windows, shrinks: sides and scales of the structural windows.
        **cud: weights of ``CUDLoss``.
    """

    takes = HRDecomposition

    def __init__(self, *, published: float = 1.0, structure: float = 5.0, texture: float = 40.0, base: float = 0.0,
                 truth: float = 0.0, selection: float = 4.0, target: float = 0.0, exposure: float = 0.0,
                 brightness: float = 0.0, base_mix: float = 0.0, base_rule: BaseRule = "structure",
                 windows: Sequence[int] = (9,), shrinks: Sequence[int] = (2, 4, 8), **cud: float) -> None:
        super().__init__()
        if any(window < 3 or window % 2 == 0 for window in windows):
            raise ValueError(f"HRLoss: windows={tuple(windows)}; give odd sides from 3 up")
        self.published, self.structure, self.base, self.truth = published, structure, base, truth
        self.texture, self.selection = texture, selection
        self.target, self.exposure, self.brightness = target, exposure, brightness
        self.base_mix, self.base_rule, self.windows = base_mix, base_rule, tuple(windows)
        self.shrinks = tuple(shrinks)
        self.cud = CUDLoss(**cud)

    def forward(self, out: HRDecomposition, sample) -> dict[str, Tensor]:
        """Weighted terms, and ``total_loss``.

        Args:
            out: the model's training output.
            sample: the ``Sample`` of this output.
        """
        terms = self.head_terms(out, sample)
        total = sum(terms.values())
        if out.patches is not None:
            published = self.cud(out.patches, sample)
            total = total + self.published * published.pop("total_loss")
            terms = published | terms
        return terms | {"total_loss": total}

    def head_terms(self, out: HRDecomposition, sample) -> dict[str, Tensor]:
        """Terms of the head for a batch of pairs or stacks; terms of weight 0 are not computed."""
        fused, target, head, true = out.fused.float(), sample.target, sample.head, sample.head * sample.truth
        terms = {}
        if self.structure:
            structure = structural_loss(fused, sample.clean, self.windows, self.shrinks, sample.present)
            terms["head_structure"] = self.structure * _held(structure, head)
        if self.texture:
            terms["head_texture"] = self.texture * _held(texture_loss(fused, sample.clean), head)
        if self.base:
            wanted = pyramid.gaussian_pyramid(target, len(out.weights) - 1)[-1]
            if self.base_mix > 0:
                ruled = wanted_base(out.bases, self.base_rule, out.energies[-1], sample.present)
                wanted = torch.lerp(wanted, ruled, self.base_mix)
            terms["head_base"] = self.base * _held((out.base - wanted).abs().mean(dim=(1, 2, 3)), head)
        if self.truth:
            dissimilar = ((1 - ssim_map(fused, target)) / 2).clamp(0, 1).mean(dim=(1, 2, 3))
            truth = (fused - target).abs().mean(dim=(1, 2, 3)) + 0.5 * dissimilar
            terms["head_truth"] = self.truth * _held(truth, true)
        if self.selection:
            wanted = shares_of(sample.masks)
            apart = selection_loss(out.weights, wanted, sample.present)
            if out.choice is not None:
                apart = apart + selection_loss([out.choice], wanted, sample.present)
            terms["head_selection"] = self.selection * _held(apart, true)
        return terms | self._task_terms(out, fused, sample)

    def _task_terms(self, out: HRDecomposition, fused: Tensor, sample) -> dict[str, Tensor]:
        """Terms for infrared pairs and exposures."""
        terms, exposures = {}, (sample.task == TASKS.index("MEF")).to(fused)
        if self.target:
            infrared, visible = (luma(_with_role(sample, role)) for role in ("infrared", "visible"))
            missing = target_loss(luma(fused), infrared, visible, sample.warm)
            terms["head_target"] = self.target * _held(missing, (sample.infrared > 0).to(fused))
        if self.exposure:
            shown = fused.clamp(0, 1)
            lost = structural_loss(shown, sample.clean, (EXPOSURE_WINDOW,), EXPOSURE_SHRINKS, sample.present)
            lost = lost + CLIPPING * (fused - shown).abs().mean(dim=(1, 2, 3))
            terms["head_exposure"] = self.exposure * _held(lost, exposures)
        if self.brightness:
            wanted = pyramid.gaussian_pyramid(sample.target, len(out.weights) - 1)[-1]
            terms["head_brightness"] = self.brightness * _held((out.base - wanted).abs().mean(dim=(1, 2, 3)), exposures)
        return terms


def _with_role(sample, role: Role) -> Tensor:
    """The clean picture with a role in each sample, (B, 3, H, W); the second picture if none has the role."""
    first = (sample.roles[0] == ROLES.index(role)).view(-1, 1, 1, 1)
    return torch.where(first, sample.clean[0], sample.clean[1])


def _held(values: Tensor, holds: Tensor) -> Tensor:
    """Sum of the values of the samples to which a term applies, divided by the batch size."""
    return (values * holds).mean()
