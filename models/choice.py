"""The decision of the head for focus series: at each pixel one of the pictures, blended only at borders.

A focus series differs in sharpness alone, so a sharp source pixel is the wanted pixel. Mixing band by band instead
takes fine bands from one picture and coarse bands from another, which softens borders and loses contrast. Here all
levels vote for one decision,

    logit_i = g (sum over l of v_l ln w_il + correction_i),    weights = softmax over i of the logits

with the weights w_il of the bands and the base (`models/head.py`), learned shares v_l, a learned gain g and a
correction by a small network at full resolution, which keeps thin objects whole: energies of the bands are means over
windows and miss them. It runs once for each picture, on its votes, its detail and its grey compared with those of the
others, and on the features of the head at half resolution. Initially the three finest bands vote equally.

A pair, whose two planes make large regions, is decided without the network: by the sharpness r_i of its regions and,
where there is detail (t), by the votes, see `models/sharp_regions.py`:

    logit_i = r_i + 4 t / (t + 1) sum over l of v_l ln w_il

Shape letters: N pictures of one scene, B scenes, L bands.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import pyramid
from models.corrections import ENERGY_OFFSET, FINE_BANDS, Level, mean_of, others_largest, others_mean
from utils.tracing import is_exporting

LEAST = 1e-6  # of a weight: bounds its logarithm
IN_PAIRS = 4.0  # gain of the votes in pairs
INPUTS = 6  # votes, detail (relative and absolute), edges, energy and grey


class Choice(nn.Module):
    """Weights of source pixels from the weights of the levels.

    Args:
        levels: bands L of the pyramid.
        width: channels C of the head's features at half resolution.
        hidden: channels of the network at full resolution.
    """

    def __init__(self, levels: int, width: int, hidden: int = 16) -> None:
        super().__init__()

        def conv(channels: int, spread: int = 1) -> nn.Conv2d:
            return nn.Conv2d(channels, hidden, 3, padding=spread, dilation=spread, padding_mode="replicate")

        self.shares = nn.Parameter(torch.tensor([1 / FINE_BANDS] * FINE_BANDS + [0.0] * (levels + 1 - FINE_BANDS)))
        self.log_gain = nn.Parameter(torch.zeros(()))
        self.bring = nn.Conv2d(width, hidden, 1)
        self.enter, self.first, self.second = conv(INPUTS), conv(hidden), conv(hidden, 2)
        self.answer = nn.Conv2d(hidden, 1, 1, bias=False)  # a constant would not change the decision
        nn.init.zeros_(self.answer.weight)

    def count_coarse(self, weights: Sequence[Tensor]) -> Tensor:
        """Votes of the levels from ``FINE_BANDS`` on, (N, B, 1, h, w) each, at the resolution of the first of them."""
        return self._count(weights, self.shares[FINE_BANDS:])

    def decide(self, weights: Sequence[Tensor], coarse: Tensor, finest: Level, band: Tensor, features: Tensor,
               there: Tensor | None = None, regions: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Weights of the source pixels, (N, B, 1, H, W), summing to 1 over N.

        Args:
            weights: of the pictures in the finest bands, (N, B, 1, h, w) each, finest first.
            coarse: from :meth:`count_coarse`.
            finest: the head's input at full resolution.
            band: the finest band, (N, B, C, H, W).
            features: of the head at half resolution, (NB, C, h, w).
            there: (N, B, 1, 1, 1) bool, which pictures a scene has; None: all.
            regions: from ``refine_regions``; None if no scene is a pair.
        """
        with torch.autocast(features.device.type, enabled=False):
            votes = self._count(weights, self.shares[:FINE_BANDS], coarse)
            pairs = None if regions is None else regions[0] + IN_PAIRS * regions[1] * votes
            if pairs is not None and not (is_exporting() or torch.is_grad_enabled()) and len(votes) == 2:
                return pyramid.mixing_weights(pairs)  # as below, without the network
            seen = _compared(votes, finest, band, there)
        x = self.enter(seen) + pyramid.enlarge(self.bring(features), seen.shape[-2:])
        x = x + self.second(F.relu(self.first(F.relu(x))))
        more = self.answer(F.relu(x)).float().view_as(votes)
        logits = self.log_gain.exp() * (votes + more - mean_of(more, there))
        if pairs is not None:
            logits = torch.where(_count_pictures(votes, there) == 2, pairs, logits)
        return pyramid.mixing_weights(logits if there is None else logits.masked_fill(~there, -torch.inf))

    @staticmethod
    def _count(weights: Sequence[Tensor], shares: Tensor, below: Tensor | None = None) -> Tensor:
        """Sum of the levels' votes, finest first, and of those ``below``, at the resolution of the first level."""
        for weight, share in zip(reversed(weights), shares.flip(0)):
            vote = share * weight.clamp(min=LEAST).log()
            below = vote if below is None else vote + pyramid.enlarge_stack(below, vote.shape[-2:])
        return below


def _count_pictures(votes: Tensor, there: Tensor | None) -> Tensor:
    """Pictures of each scene, (B, 1, 1, 1); a sum, as N is free in exported graphs."""
    return (torch.ones_like(votes[..., :1, :1]) if there is None else there.to(votes)).sum(dim=0)


def _compared(votes: Tensor, finest: Level, band: Tensor, there: Tensor | None) -> Tensor:
    """Input of the network at full resolution, (NB, INPUTS, H, W)."""
    detail = (band.abs().mean(dim=2, keepdim=True) + pyramid.FLOOR).log()
    measures = [votes, detail, finest.evidence[:, :, :1], finest.energy]
    relative = [x - others_largest(x, there) for x in measures]
    parts = [*relative, detail + ENERGY_OFFSET, 4 * (finest.grey - others_mean(finest.grey, there))]
    return torch.cat(parts, dim=2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
