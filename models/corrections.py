"""The network that corrects the salience pyramid's weights.

It runs once for each picture of a scene, with the same weights: each run sees a picture beside what the others show
(the strongest energies and evidence among them, their mean grey). A correction is what a picture's answer has over the
mean of the others', a trust the mean of all answers, so the order of the pictures changes nothing.

Shape letters: N pictures of one scene, B scenes, l level of the pyramid (0 the finest), C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import pyramid
from models.evidence import KINDS
from models.protocol import ROLES, TASKS

FINE_BANDS = 3  # decided window by window in large pictures; the others from the whole picture
LEVEL_INPUTS = 2 * (2 + KINDS)  # of a picture and the others: logarithm of the band's energy, grey, evidence
FINEST_INPUTS = 2  # energies of band 0, at half resolution
ENERGY_OFFSET = 4.0  # brings logarithms of energies, -6.2 to about -1, near 0


@dataclass
class Level:
    """What the network is told about a band, or the base, of N pictures.

    Attributes:
        grey: the pictures at this resolution, mean of the channels, (N, B, 1, h, w).
        evidence: logarithms from ``gather_evidence``, (N, B, KINDS, h, w).
        energy: logarithm of the band's energy, (N, B, 1, h, w); None for the base.
    """

    grey: Tensor
    evidence: Tensor
    energy: Tensor | None = None


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

    def embed(self, roles: Tensor, task: Tensor) -> list[Tensor]:
        """What a picture's role and the task add to its features at the levels 1 .. L, each (NB, C, 1, 1).

        Args:
            roles: (N, B), indices of ``ROLES``.
            task: (B,), indices of ``TASKS``.
        """
        return [(role(roles) + kind(task)).flatten(0, 1)[..., None, None] for role, kind in zip(self.roles, self.tasks)]

    def encode_fine(self, levels: Sequence[Level], given: Sequence[Tensor], maps: Tensor | None = None,
                    present: Tensor | None = None) -> list[Tensor]:
        """Features of the levels 1 and 2, each (NB, C, h, w), from what lies within some 80 pixels.

        Args:
            levels: the bands 0, 1 and 2.
            given: from :meth:`embed`.
            maps: (N, B, C, h, w) at the resolution of level 2, each from its picture's perspective.
            present: (N, B, 1, 1, 1) bool, which pictures a scene has; None: all.
        """
        energy = levels[0].energy + ENERGY_OFFSET
        finest = F.avg_pool2d(_beside(energy, others_largest(energy, present)), 2, ceil_mode=True)
        first = self._level(0, [_inputs(levels[1], present), finest], given)
        parts = [_inputs(levels[2], present)] + ([] if maps is None else [maps.flatten(0, 1)])
        return [first, self._level(1, [*parts, shrink_features(first)], given)]

    def encode_coarse(self, levels: Sequence[Level], below: Tensor, given: Sequence[Tensor],
                      present: Tensor | None = None) -> list[Tensor]:
        """Features of the levels 3 .. L, each (NB, C, h, w), from the whole picture.

        Args:
            levels: the bands 3 .. L - 1 and the base.
            below: features of level 2 by :func:`shrink_features`.
            given, present: as in :meth:`encode_fine`.
        """
        features: list[Tensor] = []
        for index, level in enumerate(levels, FINE_BANDS - 1):
            features.append(self._level(index, [_inputs(level, present), below], given))
            below = shrink_features(features[-1])
        coarse = features[-1]
        coarse = coarse + self.whole(coarse.mean(dim=(-2, -1))).unsqueeze(-1).unsqueeze(-1)
        features[-1] = self.wide(coarse)
        return features

    def decode_coarse(self, features: Sequence[Tensor]) -> tuple[list[Tensor], Tensor, Tensor | None]:
        """Answers for the bands 3 .. L - 1 and the base; features and decision at level 3 for the finer bands."""
        deep, decision = features[-1], None
        answers = [self.answers[-1](deep)]
        for index in range(self.levels - 2, FINE_BANDS - 2, -1):
            deep, decision = self._decide(index, features[index - FINE_BANDS + 1], deep, decision)
            answers.insert(0, decision)
        return answers, deep, decision

    def decode_fine(self, features: Sequence[Tensor], deep: Tensor, decision: Tensor | None,
                    size: Sequence[int]) -> list[Tensor]:
        """Answers for the bands 0, 1 and 2, each (NB, 1 + KINDS, h, w).

        Args:
            features: from :meth:`encode_fine`.
            deep, decision: from :meth:`decode_coarse`, the same part of the picture.
            size: (H, W) of that part in full resolution.
        """
        answers = []
        for index in (1, 0):
            deep, decision = self._decide(index, features[index], deep, decision)
            answers.insert(0, decision)
        return [pyramid.enlarge(decision + self.answers[0](deep), size), *answers]

    def judge(self, answer: Tensor, count: int, present: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What an answer means for a band or the base.

        Args:
            answer: (NB, 1 + KINDS, h, w).
            count: N.
            present: as in :meth:`encode_fine`.

        Returns:
            Corrections of the pictures' logits (N, B, 1, h, w), of which two differ by at most ``bound``, and the
            trust in each kind of evidence (B, KINDS, h, w) in (-trust_bound, trust_bound).
        """
        answer = answer.float().unflatten(0, (count, -1))
        own = answer[:, :, :1]
        share = 1 - 1 / (count if present is None else present.sum(dim=0))  # corrections differ as the answers do
        correction = share * _bounded(own - others_mean(own, present), self.bound)
        return correction, _bounded(pyramid.GAIN * mean_of(answer[:, :, 1:], present), self.trust_bound)

    def _level(self, index: int, parts: Sequence[Tensor], given: Sequence[Tensor]) -> Tensor:
        inside = torch.cat(list(parts), dim=1).contiguous(memory_format=torch.channels_last)  # convolutions gain 15 %
        return self.down[index](self.enter[index](inside) + given[index])

    def _decide(self, index: int, fine: Tensor, deep: Tensor, decision: Tensor | None) -> tuple[Tensor, Tensor]:
        """Features and decision of a level from those of the next coarser one."""
        size = fine.shape[-2:]
        deep = self.up[index](fine + pyramid.enlarge(self.carry[index](deep), size))
        answer = self.answers[index + 1](deep)
        return deep, answer if decision is None else answer + pyramid.enlarge(decision, size)


def shrink_features(x: Tensor) -> Tensor:
    """(NB, C, h, w) -> (NB, C, ceil(h / 2), ceil(w / 2)), as the next coarser level takes them."""
    return F.avg_pool2d(x, 2, ceil_mode=True)


def _inputs(level: Level, present: Tensor | None) -> Tensor:
    """What the network sees of a level, (NB, LEVEL_INPUTS, h, w)."""
    grey, evidence = level.grey, level.evidence + ENERGY_OFFSET
    parts = [_beside(grey, others_mean(grey, present)), _beside(evidence, others_largest(evidence, present))]
    if level.energy is None:  # the base
        return torch.cat([torch.zeros_like(parts[0]), *parts], dim=1)
    energy = level.energy + ENERGY_OFFSET
    return torch.cat([_beside(energy, others_largest(energy, present)), *parts], dim=1)


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
