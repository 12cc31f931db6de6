"""Which picture of a focus pair is sharp, region by region.

Two pictures focused at two distances divide a scene into a few large regions. Two places mislead a comparison of single
pixels: flat areas, where noise decides, and the surroundings of a strong edge, where the blurred picture has the larger
gradient. Sharpness is therefore compared over windows, trusted as far as there is detail, and filled in elsewhere from
coarser levels (push-pull, Gortler et al. 1996). With S_i the local mean of |grey - its 7 x 7 mean| of picture i:

    m = max over i of S_i^2,  trust t = m / (m + mean of m over a window + noise^2),  v_i = 20 ln S_i
    filled_l = (mean of t v_i + p filled_l+1) / (mean of t + p),  means over the pixels that level l joins

with p = 1 at 1/2 and 1/4 of the resolution, 0.3 below; the coarsest level is filled from the whole picture. A weak
texture far from strong edges keeps its own decision, and the ring around an edge follows the edge. Borders finer than
half the resolution come from the votes of the bands (`models/choice.py`).

Tensors of evidence, (N + 1, B, 1, h, w), contain t v_i of the N pictures and then t. Shape letters: N pictures of one
scene, B scenes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models import pyramid
from models.corrections import FINE_BANDS, mean_of

GAIN = 20.0
DETAIL_WINDOW = 7  # pixels
SMOOTHING = 5  # pixels at half resolution; the mean is taken twice
SURROUNDINGS = 19  # pixels at half resolution
NOISE = 0.01  # sharpness that counts as noise
LEAST = 0.0005  # sharpness, bounds its logarithm
COARSER = 5  # levels beyond 1/8 of the resolution
COARSE_PRIOR = 0.3  # p at 1/8 of the resolution and below


def measure_sharpness(grey: Tensor, there: Tensor | None = None) -> list[Tensor]:
    """Evidence at 1/2, 1/4 and 1/8 of the resolution.

    Args:
        grey: (N, B, 1, H, W) in [0, 1].
        there: (N, B, 1, 1, 1) bool, which pictures a scene has; None: all.
    """
    flat = grey.flatten(0, 1)
    detail = F.avg_pool2d((flat - pyramid.box_mean(flat, DETAIL_WINDOW)).abs(), 2, ceil_mode=True)
    sharp = pyramid.box_mean(pyramid.box_mean(detail, SMOOTHING), SMOOTHING).unflatten(0, grey.shape[:2])
    strongest = (sharp if there is None else sharp * there).amax(dim=0).square()
    trust = strongest / (strongest + pyramid.box_mean(strongest, SURROUNDINGS) + NOISE**2)
    logarithms = GAIN * (sharp + LEAST).log()
    evidence = [torch.cat([trust * (logarithms - mean_of(logarithms, there)), trust.unsqueeze(0)])]
    for _ in range(FINE_BANDS - 1):
        evidence.append(_shrunk(evidence[-1]))
    return evidence


def settle_regions(evidence: Tensor) -> Tensor:
    """Logits of the pictures, (N, B, 1, h, w), from the evidence of the whole picture, both at 1/8 the resolution."""
    levels = [evidence]
    for _ in range(COARSER):
        levels.append(_shrunk(levels[-1]))
    whole = evidence.mean(dim=(-2, -1), keepdim=True)
    return _fill(levels, whole[:-1] / (whole[-1:] + LEAST), COARSE_PRIOR)


def refine_regions(evidence: Sequence[Tensor], coarse: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Logits of the pictures at full resolution, (N, B, 1, H, W), and the share of votes of the bands, (B, 1, H, W).

    Args:
        evidence: at 1/2 and 1/4 of the resolution, finest first.
        coarse: from :func:`settle_regions`, for the same part of the picture.
        size: (H, W) of that part.
    """
    trust = evidence[0][-1]
    return pyramid.enlarge_stack(_fill(evidence, coarse), size), pyramid.enlarge(trust / (trust + 1), size)


def _fill(levels: Sequence[Tensor], filled: Tensor, prior: float = 1.0) -> Tensor:
    """Fill the evidence of levels, finest first, from the logits below the coarsest."""
    for level in reversed(levels):
        filled = (level[:-1] + prior * pyramid.enlarge_stack(filled, level.shape[-2:])) / (level[-1:] + prior)
    return filled


def _shrunk(evidence: Tensor) -> Tensor:
    return F.avg_pool2d(evidence.flatten(0, 1), 2, ceil_mode=True).unflatten(0, evidence.shape[:2])
