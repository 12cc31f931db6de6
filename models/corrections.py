"""The network that corrects the salience pyramid's weights.

It runs once for each picture of a scene, with the same weights: each run sees a picture beside what the others show
(the strongest energies and evidence among them, their mean grey). A correction is what a picture's answer has over the
mean of the others', a trust the mean of all answers, so the order of the pictures changes nothing.

Shape letters: N pictures of one scene, B scenes, l level of the pyramid (0 the finest), C channels.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import pyramid
from models.evidence import KINDS
from models.protocol import ROLES, TASKS

LEVEL_INPUTS = 2 * (2 + KINDS)  # of a picture and the others: logarithm of the band's energy, grey, evidence
FINEST_INPUTS = 2  # energies of band 0, at half resolution
ENERGY_OFFSET = 4.0  # brings logarithms of energies, -6.2 to about -1, near 0


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with a way around them; the border is replicated."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()

        def conv(spread: int) -> nn.Conv2d:
            return nn.Conv2d(channels, channels, 3, padding=spread, dilation=spread, padding_mode="replicate")

        self.first, self.second = conv(1), conv(dilation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + self.second(F.relu(self.first(F.relu(x))))


class CorrectionNetwork(nn.Module):
    """A small U-Net over the levels of the pyramid, from half resolution down to the base.

    Level l works at the resolution of band l, so a coarse band is decided with wide context. A decision for a
    coarse band is carried on to all finer ones, which add their own: one region, one decision, unless the finer
    bands have a reason. The base has an answer of its own, from the coarsest features and their mean over the
    picture (which exposure is the brighter one).

    A picture's role and the task are added to its features at every level as learned embeddings. They start at zero,
    and those of "none" stay there: without a role and a task the network is what it is without embeddings.

    Args:
        levels: bands L of the pyramid, at least 3.
        widths: channels at the levels 1 .. L.
        map_channels: channels of the transformer's maps from each perspective, 0 without transformer.
        bound: largest correction of a logit.
        trust_bound: largest trust in a kind of evidence; the salience pyramid's gain is 8 in the same units.
    """

    def __init__(self, levels: int = pyramid.LEVELS, widths: Sequence[int] = (16, 24, 32, 48, 48),
                 map_channels: int = 0, bound: float = 3.0, trust_bound: float = 24.0) -> None:
        super().__init__()
        if len(widths) != levels or levels < 3:
            raise ValueError(f"CorrectionNetwork: {len(widths)} widths for {levels} levels; give one a level, and at "
                             "least 3 levels")
        self.levels, self.bound, self.trust_bound = levels, bound, trust_bound
        extra = [FINEST_INPUTS, map_channels, *[0] * (levels - 2)]
        below = [0, *widths[:-1]]
        self.enter = nn.ModuleList(nn.Conv2d(LEVEL_INPUTS + more + deep, wide, 3, padding=1, padding_mode="replicate")
                                   for more, deep, wide in zip(extra, below, widths))
        self.down = nn.ModuleList(ResidualBlock(wide) for wide in widths)
        self.whole = nn.Linear(widths[-1], widths[-1])
        self.wide = ResidualBlock(widths[-1], dilation=2)
        self.carry = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(ResidualBlock(wide) for wide in widths[:-1])
        # Answers for the bands 0 .. L - 1 (0 and 1 from the same features) and for the base; they start at zero.
        self.answers = nn.ModuleList(
            nn.Conv2d(wide, 1 + KINDS, 1) for wide in (widths[0], *widths[:-1], widths[-1]))
        for answer in self.answers:
            nn.init.zeros_(answer.weight)
            nn.init.zeros_(answer.bias)
        self.roles, self.tasks = (
            nn.ModuleList(nn.Embedding.from_pretrained(torch.zeros(len(words), wide), freeze=False, padding_idx=0)
                          for wide in widths) for words in (ROLES, TASKS))

    def forward(self, energies: Sequence[Tensor], greys: Sequence[Tensor], evidence: Sequence[Tensor],
                roles: Tensor, task: Tensor, maps: Tensor | None = None,
                present: Tensor | None = None) -> tuple[list[Tensor], list[Tensor]]:
        """Corrections of each picture's logits, and how far the evidence is to be trusted.

        Args:
            energies: logarithms for the bands, L tensors (N, B, 1, h, w).
            greys: Gaussian pyramid of the pictures' grey, L + 1 tensors (N, B, 1, h, w).
            evidence: logarithms from ``gather_evidence``, L + 1 tensors (N, B, KINDS, h, w).
            roles: (N, B), indices of ``ROLES``.
            task: (B,), indices of ``TASKS``.
            maps: (N, B, C, h, w) at the resolution of level 2, each from its picture's perspective.
            present: (N, B, 1, 1, 1) bool, which pictures a scene has; None: all.

        Returns:
            For the bands and for the base: L + 1 corrections (N, B, 1, h, w) and L + 1 trusts (B, KINDS, h, w) in
            (-trust_bound, trust_bound). The corrections of two pictures differ by at most ``bound``.
        """
        both = [_beside(energy + ENERGY_OFFSET, others_largest(energy + ENERGY_OFFSET, present)) for energy in energies]
        both.append(torch.zeros_like(_beside(greys[-1], greys[-1])))  # the base has no energy
        inputs = [torch.cat([energy, _beside(grey, others_mean(grey, present)),
                             _beside(wide + ENERGY_OFFSET, others_largest(wide + ENERGY_OFFSET, present))], dim=1)
                  for energy, grey, wide in zip(both, greys, evidence)]
        given = [(role(roles) + kind(task)).flatten(0, 1)[..., None, None]
                 for role, kind in zip(self.roles, self.tasks)]
        features = self._encode(inputs, F.avg_pool2d(both[0], 2, ceil_mode=True), given, maps)
        answers = [answer.float().unflatten(0, roles.shape)
                   for answer in self._decode(features, greys[0].shape[-2:])]
        count = len(roles) if present is None else present.sum(dim=0)
        share = 1 - 1 / count  # the corrections of N pictures differ as their answers do
        corrections = [share * _bounded(answer[:, :, :1] - others_mean(answer[:, :, :1], present), self.bound)
                       for answer in answers]
        trusts = [_bounded(pyramid.GAIN * mean_of(answer[:, :, 1:], present), self.trust_bound) for answer in answers]
        return corrections, trusts

    def _encode(self, inputs: list[Tensor], finest: Tensor, given: list[Tensor], maps: Tensor | None) -> list[Tensor]:
        """Features of the levels 1 .. L, each (NB, C, h, w)."""
        features: list[Tensor] = []
        for index, (enter, down) in enumerate(zip(self.enter, self.down)):
            parts = [inputs[index + 1]]
            if index == 0:
                parts.append(finest)
            if index == 1 and maps is not None:
                parts.append(maps.flatten(0, 1))
            if features:
                parts.append(F.avg_pool2d(features[-1], 2, ceil_mode=True))
            inside = torch.cat(parts, dim=1).contiguous(memory_format=torch.channels_last)  # convolutions gain 15 %
            features.append(down(enter(inside) + given[index]))
        coarse = features[-1]
        coarse = coarse + self.whole(coarse.mean(dim=(-2, -1))).unsqueeze(-1).unsqueeze(-1)
        features[-1] = self.wide(coarse)
        return features

    def _decode(self, features: list[Tensor], size: Sequence[int]) -> list[Tensor]:
        """Answers for the bands, finest first, and for the base, each (NB, 1 + KINDS, h, w)."""
        deep, decision = features[-1], None
        answers = [self.answers[-1](deep)]
        for index in range(self.levels - 2, -1, -1):
            fine = features[index]
            deep = self.up[index](fine + pyramid.enlarge(self.carry[index](deep), fine.shape[-2:]))
            answer = self.answers[index + 1](deep)
            decision = answer if decision is None else answer + pyramid.enlarge(decision, fine.shape[-2:])
            answers.insert(0, decision)
        answers.insert(0, pyramid.enlarge(decision + self.answers[0](deep), size))
        return answers


def mean_of(pictures: Tensor, present: Tensor | None = None) -> Tensor:
    """(N, ...) -> (...): the mean of the pictures that are present, all if not given."""
    if present is None:
        return pictures.mean(dim=0)
    return (pictures * present).sum(dim=0) / present.sum(dim=0)


def others_mean(pictures: Tensor, present: Tensor | None = None) -> Tensor:
    """(N, ...) -> (N, ...): for each picture the mean of the others that are present."""
    if len(pictures) == 2:
        return pictures.flip(0)
    if present is None:
        return (pictures.sum(dim=0) - pictures) / (len(pictures) - 1)
    own = pictures * present
    return (own.sum(dim=0) - own) / (present.sum(dim=0) - present.to(pictures))


def others_largest(pictures: Tensor, present: Tensor | None = None) -> Tensor:
    """(N, ...) -> (N, ...): for each picture the largest value among the others that are present."""
    if len(pictures) == 2:
        return pictures.flip(0)
    there = pictures if present is None else pictures.masked_fill(~present, -torch.inf)
    best, second = there.topk(2, dim=0).values
    return torch.where(there == best, second, best)  # where two share the largest, the second equals it


def _beside(pictures: Tensor, others: Tensor) -> Tensor:
    """(N, B, C, h, w) twice -> (NB, 2C, h, w): each picture beside the others."""
    return torch.cat([pictures, others], dim=2).flatten(0, 1)


def _bounded(x: Tensor, bound: float) -> Tensor:
    """x where it is small, smoothly kept within (-bound, bound)."""
    return bound * torch.tanh(x / bound)
