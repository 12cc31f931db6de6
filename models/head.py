"""The full-resolution fusion head: the salience pyramid for N pictures, its weights corrected by a small network.

The fused picture is mixed from the pictures themselves, band by band of a Laplacian pyramid,

    fused band l = sum over i of w_il band_l(x_i),    w_l = softmax over i of s_l
    s_il = g_l ln E_il + sum_k t_kl ln V_ik + correction_il,  l < L
    s_iL = e exposure_i + sum_k t_kL ln V_ik + correction_iL  (the base)

with local energies E (`models/pyramid.py`), evidence V_k from other bands and further around (`models/evidence.py`),
learned gains g_l and e, and trusts t and corrections by `CorrectionNetwork`, pixel by pixel. Trusts, corrections and e
start at zero, g_l at 8: the untrained head *is* ``SaliencePyramid``. Bands of several pictures can add up to more than
any of them shows (halos, clipped edges): what leaves the range of the pictures' pixels is bent back, at most
``overshoot`` stays outside. The base's brightness stays within ``base_shift`` of the mean of all. The order of the
pictures changes nothing. (Ours: not part of the published method.)

Shape letters: N pictures of one scene, B scenes, L bands.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from models import pyramid
from models.corrections import CorrectionNetwork, mean_of
from models.decomposition import Decomposition
from models.evidence import gather_evidence
from models.protocol import ROLES, TASKS, Role, Task, Traits
from models.registry import MODELS
from utils.signatures import Count


@dataclass
class HRDecomposition(Decomposition):
    """A decomposition in full resolution.

    ``common``, ``unique1`` and ``unique2`` are for display, and there for two pictures only: with W_i the weight of
    picture i over all bands, unique_i = max(W_i - W_j, 0) x_i, and common is what is left of the mix W_1 x1 + W_2 x2,
    so that the three add up to it.

    Attributes:
        weights: of each picture for each band and the base, L + 1 tensors (N, B, 1, h, w) that sum to 1 over N.
        energies: logarithms of the pictures' energies, L tensors (N, B, 1, h, w).
        bases: bases of the pictures, (N, B, 3, h, w).
        base: the mixed base, (B, 3, h, w).
        patches: what the published heads draw (training, or with ``patches=True``), patch resolution.
    """

    weights: list[Tensor] = field(default_factory=list)
    energies: list[Tensor] = field(default_factory=list)
    bases: Tensor | None = None
    base: Tensor | None = None
    patches: Decomposition | None = None


@MODELS.register("FusionHead")
class FusionHead(nn.Module):
    """Mixes the pictures of a scene band by band.

    Args:
        levels: bands L of the pyramid.
        window: side of the energies' window, odd.
        widths: channels of the correction network at the levels 1 .. L.
        map_channels: channels of maps that a transformer adds for each picture, 0 without one.
        bound: largest correction between two logits.
        trust_bound: largest trust in a kind of evidence.
        base_shift: how far the mixed base may lie from the plain mean, in grey of [0, 1]: focus settings can be chosen
            freely, but no overexposed picture's brightness takes over (a veil).
        overshoot: how far a pixel may leave the range of the source pixels; None: as far as the bands take it.
    """

    traits = Traits(large="padded", many=True, roles=True, has_components=True, training="head", loss="HRLoss",
                    gives=HRDecomposition, optional=("corrections.roles.", "corrections.tasks."))

    def __init__(self, *, levels: Count = pyramid.LEVELS, window: Count = pyramid.WINDOW,
                 widths: Sequence[Count] = (16, 24, 32, 48, 48), map_channels: int = 0, bound: float = 3.0,
                 trust_bound: float = 24.0, base_shift: float = 0.2, overshoot: float | None = 0.1) -> None:
        super().__init__()
        self.levels, self.window, self.map_channels = levels, window, map_channels
        self.base_shift, self.overshoot = base_shift, overshoot
        self.corrections = CorrectionNetwork(levels, widths, map_channels, bound, trust_bound)
        self.log_gain = nn.Parameter(torch.full((levels,), pyramid.GAIN).log())
        self.exposure_gain = nn.Parameter(torch.zeros(()))

    def decompose(self, *pictures: Tensor, roles: Sequence[Role] = (), task: Task = "none") -> HRDecomposition:
        """Fuse N pictures of one scene, of any size.

        Args:
            *pictures: two or more, (B, 3, H, W) in [0, 1].
            roles: of each picture; empty: none is known.
            task: what kind of scene it is.

        Raises:
            ValueError: roles and pictures differ in number.
        """
        if roles and len(roles) != len(pictures):
            raise ValueError(f"FusionHead.decompose: {len(roles)} roles for {len(pictures)} pictures; give one each")
        like = {"device": pictures[0].device, "dtype": torch.long}
        scenes = pictures[0].shape[0]
        indices = torch.tensor([ROLES.index(role) for role in roles or ["none"] * len(pictures)], **like)
        return self(*pictures, roles=indices.unsqueeze(1).expand(-1, scenes),
                    task=torch.full((scenes,), TASKS.index(task), **like))

    def forward(self, *pictures: Tensor, roles: Tensor | None = None, task: Tensor | None = None,
                maps: Tensor | None = None, present: Tensor | None = None) -> HRDecomposition:
        """Fuse N pictures; what training and inference share.

        Args:
            *pictures: two or more, (B, 3, H, W) in [0, 1].
            roles: (N, B), indices of ``ROLES``; None: no picture has one.
            task: (B,), indices of ``TASKS``; None: unknown.
            maps: (N, B, map_channels, ceil(H / 4), ceil(W / 4)), each from its picture's perspective; None exactly if
                the head takes none.
            present: (N, B) bool, which pictures a scene has, for batches of scenes with different numbers of pictures.
                The others get no weight and change nothing. None: all.

        Raises:
            ValueError: fewer than two pictures, or maps are missing or not wanted.
        """
        if len(pictures) < 2:
            raise ValueError(f"FusionHead: {len(pictures)} pictures; give two or more")
        if (maps is not None) != bool(self.map_channels):
            raise ValueError(f"FusionHead: map_channels={self.map_channels}, but maps are "
                             f"{'missing' if maps is None else 'given'}")
        none = torch.zeros(len(pictures), pictures[0].shape[0], dtype=torch.long, device=pictures[0].device)
        roles, task = none if roles is None else roles, none[0] if task is None else task
        with torch.autocast(none.device.type, enabled=False):
            *bands, bases = pyramid.build_pyramids([x.float() for x in pictures], self.levels)
            energies = [pyramid.band_energy(band, self.window).log() for band in bands]
            greys = _grey_pyramid(bands, bases)
            evidence = gather_evidence(bands, greys[0], self.levels)
        there = None if present is None else present[..., None, None, None]
        corrections, trusts = self.corrections(energies, greys, evidence, roles, task, maps, there)
        with torch.autocast(none.device.type, enabled=False):
            own = [gain * energy for gain, energy in zip(self.log_gain.exp(), energies)]
            own.append(self.exposure_gain * pyramid.exposure_logits(bases))
            logits = [logit - mean_of(logit, there) + correction
                      + (trust * (wide - mean_of(wide, there))).sum(dim=2, keepdim=True)
                      for logit, trust, wide, correction in zip(own, trusts, evidence, corrections)]
            if there is not None:
                logits = [logit.masked_fill(~there, -torch.inf) for logit in logits]
            weights = [pyramid.mixing_weights(logit) for logit in logits]
            weights[-1] = limit_shift(weights[-1], bases, self.base_shift, there)
            return self._mix(pictures, bands, bases, weights, energies, there)

    def _mix(self, pictures: Sequence[Tensor], bands: list[Tensor], bases: Tensor, weights: list[Tensor],
             energies: list[Tensor], there: Tensor | None) -> HRDecomposition:
        mixed = [pyramid.mix(*both) for both in zip([*bands, bases], weights)]
        fused = pyramid.collapse_pyramid(mixed)
        if self.overshoot is not None:
            low, high = pictures[0], pictures[0]  # a scene has at least two pictures, the first among them
            for index, picture in enumerate(pictures[1:], 1):
                seen = picture if there is None else torch.where(there[index], picture, pictures[0])
                low, high = torch.minimum(low, seen), torch.maximum(high, seen)
            fused = _bend_back(fused, low, high, self.overshoot)
        parts = _components(*pictures, weights, energies) if len(pictures) == 2 else (None, None, None)
        return HRDecomposition(*parts, fused, weights=weights, energies=energies, bases=bases, base=mixed[-1])


def _bend_back(x: Tensor, low: Tensor, high: Tensor, limit: float) -> Tensor:
    """Values outside of [low, high] brought to within ``limit`` of it, smoothly and with a gradient everywhere."""
    inside = torch.minimum(torch.maximum(x, low), high)
    return inside + limit * torch.tanh((x - inside) / limit)


def limit_shift(weights: Tensor, bases: Tensor, limit: float, present: Tensor | None = None) -> Tensor:
    """Weights of the bases such that the mix stays within ``limit`` of their mean, in grey.

    Args:
        weights: (N, B, 1, h, w), summing to 1 over N.
        bases: (N, B, C, h, w).
        limit: in the units of the bases.
        present: (N, B, 1, 1, 1) bool, which pictures a scene has; None: all.
    """
    even = 1 / len(weights) if present is None else present / present.sum(dim=0)
    shift = pyramid.mix(bases.mean(dim=2, keepdim=True), weights - even).abs() / limit
    shift = shift.clamp(min=1e-3)
    return even + (weights - even) * torch.tanh(shift) / shift


def _grey_pyramid(bands: list[Tensor], bases: Tensor) -> list[Tensor]:
    """Gaussian pyramid of the channel means, L + 1 tensors (N, B, 1, h, w), from the Laplacian one."""
    greys = [bases.mean(dim=2, keepdim=True)]
    for band in reversed(bands):
        coarse = pyramid.enlarge(greys[0].flatten(0, 1), band.shape[-2:]).view(*band.shape[:2], 1, *band.shape[-2:])
        greys.insert(0, coarse + band.mean(dim=2, keepdim=True))
    return greys


@torch.no_grad()
def _components(x1: Tensor, x2: Tensor, weights: list[Tensor], energies: list[Tensor]) -> tuple[Tensor, ...]:
    """Common and unique parts of a pair as ``HRDecomposition`` describes them."""
    whole = _overall_weight([weight[0] for weight in weights], energies)
    unique1, unique2 = (2 * whole - 1).clamp(min=0) * x1, (1 - 2 * whole).clamp(min=0) * x2
    return torch.minimum(whole, 1 - whole) * (x1 + x2), unique1, unique2


def _overall_weight(weights: list[Tensor], energies: list[Tensor]) -> Tensor:
    """One weight of the first picture for all bands, (B, 1, H, W): the mean over the bands by their energy."""
    size = weights[0].shape[-2:]
    total = norm = 0
    for weight, energy in zip(weights, energies):
        strength = energy.exp().sum(dim=0)
        total = total + pyramid.enlarge(weight * strength, size)
        norm = norm + pyramid.enlarge(strength, size)
    return total / norm
