"""The network that corrects the salience pyramid's weights.

It runs once for each picture of a scene, with shared weights. Its input is the picture and a summary of the others
(their strongest energies and evidence, their mean grey). The correction of a picture is its output minus the mean
output of the others, and trusts are the mean of all outputs, so that the order of the pictures does not matter.

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

FINE_BANDS = 3  # computed window by window in large pictures; the others from the whole picture
LEVEL_INPUTS = 2 * (2 + KINDS)  # of a picture and the others: logarithm of the band's energy, grey, evidence
FINEST_INPUTS = 2  # energies of band 0, at half resolution
ENERGY_OFFSET = 4.0  # shifts logarithms of energies, -6.2 to about -1, towards 0


@dataclass
class Level:
    """The network's input for a band, or the base, of N pictures.

    Attributes:
        grey: the pictures at this resolution, mean of the channels, (N, B, 1, h, w).
        evidence: logarithms from ``gather_evidence``, (N, B, KINDS, h, w).
        energy: logarithm of the band's energy, (N, B, 1, h, w); None for the base.
    """

    grey: Tensor
    evidence: Tensor
    energy: Tensor | None = None


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with a skip connection; the border is replicated."""

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

    Level l works at the resolution of band l, so coarse bands have wide context. The decision for a coarse band is
    passed to all finer bands, which add to it: a region has one decision unless finer bands change it. The base has
    its own output, computed from the coarsest features and their mean over the picture (for example, which exposure
    is brighter).

    A picture's role and the task are added to its features at every level as learned embeddings, initialised to
    zero. Those of "none" stay zero: without a role and a task the network equals one without embeddings.

    Args:
        levels: bands L of the pyramid, at least 3.
        widths: channels at the levels 1 .. L.
        map_channels: channels of the transformer's maps from each perspective, 0 without a transformer.
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
        # Outputs for the bands 0 .. L - 1 (0 and 1 from the same features) and the base, initialised to zero.
        self.answers = nn.ModuleList(
            nn.Conv2d(wide, 1 + KINDS, 1) for wide in (widths[0], *widths[:-1], widths[-1]))
        for answer in self.answers:
            nn.init.zeros_(answer.weight)
            nn.init.zeros_(answer.bias)
        self.roles, self.tasks = (
            nn.ModuleList(nn.Embedding.from_pretrained(torch.zeros(len(words), wide), freeze=False, padding_idx=0)
                          for wide in widths) for words in (ROLES, TASKS))

    def embed(self, roles: Tensor, task: Tensor) -> list[Tensor]:
        """Embeddings of role and task, added to the features at the levels 1 .. L, each (NB, C, 1, 1).

        Args:
            roles: (N, B), indices of ``ROLES``.
            task: (B,), indices of ``TASKS``.
        """
        return [(role(roles) + kind(task)).flatten(0, 1)[..., None, None] for role, kind in zip(self.roles, self.tasks)]

    def encode_fine(self, levels: Sequence[Level], given: Sequence[Tensor], maps: Tensor | None = None,
                    present: Tensor | None = None) -> list[Tensor]:
        """Features of the levels 1 and 2, each (NB, C, h, w), with a receptive field of about 80 pixels to each side.

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
        """Outputs for the bands 3 .. L - 1 and the base; features and decision at level 3 for the finer bands."""
        deep, decision = features[-1], None
        answers = [self.answers[-1](deep)]
        for index in range(self.levels - 2, FINE_BANDS - 2, -1):
            deep, decision = self._decide(index, features[index - FINE_BANDS + 1], deep, decision)
            answers.insert(0, decision)
        return answers, deep, decision

    def decode_fine(self, features: Sequence[Tensor], deep: Tensor, decision: Tensor | None,
                    size: Sequence[int]) -> tuple[list[Tensor], Tensor]:
        """Outputs for the bands 0, 1 and 2, each (NB, 1 + KINDS, h, w), and the features at half resolution.

        Args:
            features: from :meth:`encode_fine`.
            deep, decision: from :meth:`decode_coarse`, for the same part of the picture.
            size: (H, W) of that part at full resolution.
        """
        answers = []
        for index in (1, 0):
            deep, decision = self._decide(index, features[index], deep, decision)
            answers.insert(0, decision)
        return [pyramid.enlarge(decision + self.answers[0](deep), size), *answers], deep

    def judge(self, answer: Tensor, count: int, present: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Convert an output for a band or the base to corrections and trusts.

        Args:
            answer: (NB, 1 + KINDS, h, w).
            count: N.
            present: as in :meth:`encode_fine`.

        Returns:
            Corrections of the pictures' logits (N, B, 1, h, w), which differ by at most ``bound``, and the trust in
            each kind of evidence (B, KINDS, h, w) in (-trust_bound, trust_bound).
        """
        answer = answer.float().unflatten(0, (count, -1))
        own = answer[:, :, :1]
        share = 1 - 1 / (count if present is None else present.sum(dim=0))  # keeps output differences
        correction = share * _bounded(own - others_mean(own, present), self.bound)
        return correction, _bounded(pyramid.GAIN * mean_of(answer[:, :, 1:], present), self.trust_bound)

    def _level(self, index: int, parts: Sequence[Tensor], given: Sequence[Tensor]) -> Tensor:
        inside = torch.cat(list(parts), dim=1).contiguous(memory_format=torch.channels_last)  # 15 % faster convolutions
        return self.down[index](self.enter[index](inside) + given[index])

    def _decide(self, index: int, fine: Tensor, deep: Tensor, decision: Tensor | None) -> tuple[Tensor, Tensor]:
        """Features and decision of a level from those of the next coarser one."""
        size = fine.shape[-2:]
        deep = self.up[index](fine + pyramid.enlarge(self.carry[index](deep), size))
        answer = self.answers[index + 1](deep)
        return deep, answer if decision is None else answer + pyramid.enlarge(decision, size)


def shrink_features(x: Tensor) -> Tensor:
    """(NB, C, h, w) -> (NB, C, ceil(h / 2), ceil(w / 2)), the input of the next coarser level."""
    return F.avg_pool2d(x, 2, ceil_mode=True)


def _inputs(level: Level, present: Tensor | None) -> Tensor:
    """The network's input at a level, (NB, LEVEL_INPUTS, h, w)."""
    grey, evidence = level.grey, level.evidence + ENERGY_OFFSET
    parts = [_beside(grey, others_mean(grey, present)), _beside(evidence, others_largest(evidence, present))]
    if level.energy is None:  # the base
        return torch.cat([torch.zeros_like(parts[0]), *parts], dim=1)
    energy = level.energy + ENERGY_OFFSET
    return torch.cat([_beside(energy, others_largest(energy, present)), *parts], dim=1)


def mean_of(pictures: Tensor, present: Tensor | None = None) -> Tensor:
    """(N, ...) -> (...): the mean of the pictures that are present; all if None."""
    if present is None:
        return pictures.mean(dim=0)
    return (pictures * present).sum(dim=0) / present.sum(dim=0)


def others_mean(pictures: Tensor, present: Tensor | None = None) -> Tensor:
    """(N, ...) -> (N, ...): for each picture the mean of the others that are present."""
    if pictures.shape[0] == 2:
        return pictures.flip(0)
    if present is None:
        return (pictures.sum(dim=0) - pictures) / (pictures.shape[0] - 1)
    own = pictures * present
    return (own.sum(dim=0) - own) / (present.sum(dim=0) - present.to(pictures))


def others_largest(pictures: Tensor, present: Tensor | None = None) -> Tensor:
    """(N, ...) -> (N, ...): for each picture the largest value among the others that are present."""
    if pictures.shape[0] == 2:
        return pictures.flip(0)
    there = pictures if present is None else pictures.masked_fill(~present, -torch.inf)
    best, second = there.topk(2, dim=0).values
    return torch.where(there == best, second, best)  # where two share the largest, the second equals it


def _beside(pictures: Tensor, others: Tensor) -> Tensor:
    """(N, B, C, h, w) twice -> (NB, 2C, h, w): each picture concatenated with the summary of the others."""
    return torch.cat([pictures, others], dim=2).flatten(0, 1)


def _bounded(x: Tensor, bound: float) -> Tensor:
    """Bound x smoothly to (-bound, bound); small values are nearly unchanged."""
    return bound * torch.tanh(x / bound)
