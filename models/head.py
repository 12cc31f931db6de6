"""The full-resolution fusion head: the salience pyramid for N pictures, its weights corrected by a small network.

The fused picture is mixed from the pictures themselves, band by band of a Laplacian pyramid,

    fused band l = sum over i of w_il band_l(x_i),    w_l = softmax over i of s_l
    s_il = g_l ln E_il + sum_k t_kl ln V_ik + correction_il,  l < L
    s_iL = e exposure_i + sum_k t_kL ln V_ik + correction_iL  (the base)

with local energies E (`models/pyramid.py`), evidence V_k from other bands and larger areas (`models/evidence.py`),
learned gains g_l and e, and trusts t and corrections by `CorrectionNetwork` at each pixel. Trusts, corrections and e
are initialised to 0 and g_l to 8, so the untrained head equals ``SaliencePyramid``. Bands of several pictures can add
up to more than any of them shows (halos, clipped edges); values outside the range of the pictures' pixels are
therefore compressed to at most ``overshoot`` beyond it. The brightness of the base stays within ``base_shift`` of the
mean of all. The order of the pictures does not matter. (Ours: not part of the published method.)

Three rules apply to scenes whose kind is known: a focus series is decided by ``Choice`` (`models/choice.py`), warm
targets of an infrared picture are lifted (`models/floor.py`), and exposures keep their light (`models/light.py`).

Shape letters: N pictures of one scene, B scenes, L bands.
"""

from collections.abc import Sequence
from itertools import zip_longest

import torch
from torch import Tensor, nn

from models import floor, light, pyramid
from models.choice import Choice
from models.corrections import FINE_BANDS, CorrectionNetwork, Level, mean_of
from models.evidence import gather_evidence
from models.head_parts import Coarse, Fine, Handover, HRDecomposition, Spread, Told, with_last
from models.head_windows import fuse_in_parts, wants_parts
from models.protocol import ROLES, TASKS, Role, Task, Traits
from models.registry import MODELS
from models.sharp_regions import measure_sharpness, refine_regions, settle_regions
from utils.signatures import Count
from utils.tracing import is_exporting


@MODELS.register("FusionHead")
class FusionHead(nn.Module):
    """Mixes the pictures of a scene band by band.

    Args:
        levels: bands L of the pyramid.
        window: side of the energy window in pixels, odd.
        widths: channels of the correction network at the levels 1 .. L.
        map_channels: channels of a transformer's maps for each picture, 0 without one.
        bound: largest difference between the corrections of two logits.
        trust_bound: largest trust in a kind of evidence.
        base_shift: largest distance of the mixed base from the plain mean, in grey of [0, 1]. It leaves focus settings
            free to choose but keeps the brightness of an overexposed picture from dominating (a veil).
        overshoot: largest distance of a pixel from the range of the source pixels; None: unlimited.
        warm_floor: share of the infrared brightness that warm targets keep at least, see `models/floor.py`; 0: none.
        keep_light: whether exposures stay near to their well-exposed pictures, see `models/light.py`.
        choose: whether focus series are decided pixel by pixel, see `models/choice.py`, instead of mixed.
        only_choice: train only that decision; everything else is frozen.
    """

    traits = Traits(large="padded", many=True, roles=True, has_components=True, has_weights=True, training="head",
                    loss="HRLoss", gives=HRDecomposition,
                    optional=("corrections.roles.", "corrections.tasks.", "choice."))

    def __init__(self, *, levels: Count = pyramid.LEVELS, window: Count = pyramid.WINDOW,
                 widths: Sequence[Count] = (16, 24, 32, 48, 48), map_channels: int = 0, bound: float = 3.0,
                 trust_bound: float = 24.0, base_shift: float = 0.2, overshoot: float | None = 0.1,
                 warm_floor: float = 0.0, keep_light: bool = False, choose: bool = False,
                 only_choice: bool = False) -> None:
        super().__init__()
        self.levels, self.window, self.map_channels = levels, window, map_channels
        self.base_shift, self.overshoot, self.warm_floor = base_shift, overshoot, warm_floor
        self.keep_light = keep_light
        self.corrections = CorrectionNetwork(levels, widths, map_channels, bound, trust_bound)
        self.log_gain = nn.Parameter(torch.full((levels,), pyramid.GAIN).log())
        self.exposure_gain = nn.Parameter(torch.zeros(()))
        if only_choice and not choose:
            raise ValueError("FusionHead: only_choice without choose; nothing is left to train")
        if only_choice:
            self.requires_grad_(False)
        self.choice = Choice(levels, widths[0]) if choose else None

    def decompose(self, *pictures: Tensor, roles: Sequence[Role] = (), task: Task = "none",
                  maps: Tensor | None = None, components: bool = True, shares: bool = False) -> HRDecomposition:
        """Fuse N pictures of one scene, of any size.

        Args:
            *pictures: two or more, (B, 3, H, W) in [0, 1].
            roles: role of each picture; empty if unknown.
            task: kind of scene.
            maps: as in :meth:`forward`.
            components: whether to compute the components of a pair.
            shares: whether to compute the overall weights of the pictures.

        Raises:
            ValueError: the numbers of roles and pictures differ.
        """
        if roles and len(roles) != len(pictures):
            raise ValueError(f"FusionHead.decompose: {len(roles)} roles for {len(pictures)} pictures; give one each")
        like = {"device": pictures[0].device, "dtype": torch.long}
        scenes = pictures[0].shape[0]
        indices = torch.tensor([ROLES.index(role) for role in roles or ["none"] * len(pictures)], **like)
        told = self.tell(indices.unsqueeze(1).expand(-1, scenes), torch.full((scenes,), TASKS.index(task), **like))
        # The words are known here, so that rules without effect cost nothing.
        told.infrared = told.infrared if "infrared" in roles else None
        told.focus = told.focus if task == "MFF" else None
        told.exposures = told.exposures if task == "MEF" else None
        return self._fuse(pictures, told, maps, components=components, shares=shares)

    def forward(self, *pictures: Tensor, roles: Tensor | None = None, task: Tensor | None = None,
                maps: Tensor | None = None, present: Tensor | None = None,
                components: bool = True, shares: bool = False) -> HRDecomposition:
        """Fuse N pictures, in training and inference.

        Without gradients, large pictures with sides that are multiples of 8 are fused part by part, with the same
        result but without ``weights``, ``energies`` and bases.

        Args:
            *pictures: two or more, (B, 3, H, W) in [0, 1].
            roles: (N, B), indices of ``ROLES``; None: no roles.
            task: (B,), indices of ``TASKS``; None: unknown.
            maps: (N, B, map_channels, ceil(H / 4), ceil(W / 4)), each from its picture's perspective; None if and only
                if the head uses no maps.
            present: (N, B) bool, which pictures a scene has, for batches of scenes with different numbers of pictures.
                The others have no weight and no influence. None: all.
            components: whether to compute the components of a pair.
            shares: whether to compute the overall weights of the pictures.

        Raises:
            ValueError: fewer than two pictures, or missing or unexpected maps.
        """
        none = torch.zeros(len(pictures), pictures[0].shape[0], dtype=torch.long, device=pictures[0].device)
        told = self.tell(none if roles is None else roles, none[0] if task is None else task)
        there = None if present is None else present[..., None, None, None]
        return self._fuse(pictures, told, maps, there, components, shares)

    def tell(self, roles: Tensor, task: Tensor) -> Told:
        """Roles (N, B) and tasks (B,) as the parts of the head use them."""
        infrared = (roles == ROLES.index("infrared"))[..., None, None, None].float() if self.warm_floor else None
        focus, exposures = ((task == TASKS.index(name)).view(-1, 1, 1, 1) if wanted else None
                            for name, wanted in (("MFF", self.choice), ("MEF", self.keep_light)))
        return Told(self.corrections.embed(roles, task), infrared, focus, exposures)

    def _fuse(self, pictures: Sequence[Tensor], told: Told, maps: Tensor | None = None, there: Tensor | None = None,
              components: bool = True, shares: bool = False) -> HRDecomposition:
        """Fuse pictures, in parts if they are large; ``there``: ``present`` as (N, B, 1, 1, 1)."""
        if len(pictures) < 2:
            raise ValueError(f"FusionHead: {len(pictures)} pictures; give two or more")
        if (maps is not None) != bool(self.map_channels):
            raise ValueError(f"FusionHead: map_channels={self.map_channels}, but maps are "
                             f"{'missing' if maps is None else 'given'}")
        if not torch.is_grad_enabled() and maps is there is None and wants_parts(pictures):
            return fuse_in_parts(self, pictures, told, components=components, shares=shares)
        fine = self.see(pictures, told, maps, there)
        coarse = self.settle(fine.handover(), told, there)
        return self.mix(pictures, fine, coarse, told, there, components=components, shares=shares)

    def see(self, pictures: Sequence[Tensor], told: Told, maps: Tensor | None = None,
            there: Tensor | None = None) -> Fine:
        """Compute the three finest bands of pictures, or of a part of them, and the network's features."""
        with torch.autocast(pictures[0].device.type, enabled=False):
            stack = pictures if isinstance(pictures, Tensor) else torch.stack([x.float() for x in pictures])
            gaussian, bands = pyramid.laplacian_pyramids(stack, FINE_BANDS)
            evidence = gather_evidence(bands, gaussian[0].mean(dim=2, keepdim=True), FINE_BANDS)
            levels = self._levels(gaussian[:-1], bands, evidence)
            pairs = told.focus is not None and (is_exporting() or there is not None or len(stack) == 2)
            sharpness = measure_sharpness(levels[0].grey, there) if pairs else []
        features = self.corrections.encode_fine(levels, told.features, maps, there)
        return Fine(bands, levels, gaussian[-1], evidence[-1], features, sharpness)

    def settle(self, whole: Handover, told: Told, there: Tensor | None = None) -> Coarse:
        """Decide the coarser bands and the base, from the whole picture."""
        network = self.corrections
        with torch.autocast(whole.picture.device.type, enabled=False):
            (*greys, bases), bands = pyramid.laplacian_pyramids(whole.picture, self.levels - FINE_BANDS)
            evidence = pyramid.gaussian_pyramids(whole.evidence, self.levels - FINE_BANDS)
            levels = self._levels([*greys, bases], bands, evidence)
        features = network.encode_coarse(levels, whole.features, told.features, there)
        answers, deep, decision = network.decode_coarse(features)
        with torch.autocast(bases.device.type, enabled=False):
            own = [gain * level.energy for gain, level in zip(self.log_gain[FINE_BANDS:].exp(), levels)]
            own.append(self.exposure_gain * pyramid.exposure_logits(bases))
            weights = [self._weights(*one, there) for one in zip(own, levels, answers)]
            weights[-1] = limit_shift(weights[-1], bases, self.base_shift, there)
            base = pyramid.mix(bases, weights[-1])
            fused = pyramid.collapse_pyramid([*map(pyramid.mix, bands, weights), base])
            exposed = None
            if told.exposures is not None:
                exposed = light.exposure_weights(whole.picture, there)
                fused = torch.where(told.exposures, light.keep_light(fused, whole.picture, exposed), fused)
            votes = None if told.focus is None else self.choice.count_coarse(weights)
            regions = None if whole.sharpness is None else settle_regions(whole.sharpness)
            around = None
            if told.infrared is not None:
                around = floor.surroundings_of((whole.picture * told.infrared).sum(dim=0), fused, 2**FINE_BANDS)
        return Coarse(levels, weights, bases, base, fused, deep, decision, votes, regions, around, exposed)

    def mix(self, pictures: Sequence[Tensor], fine: Fine, coarse: Coarse, told: Told, there: Tensor | None = None,
            spread: Spread | None = None, components: bool = True, shares: bool = False) -> HRDecomposition:
        """Compute the fused picture, or a part of it.

        Args:
            pictures: whole pictures, or the part.
            fine, coarse: bands of the same part.
            told: roles and task.
            there: (N, B, 1, 1, 1) bool, which pictures a scene has; None: all.
            spread: weights of the coarse bands over the part, if already known.
            components: whether to compute the components of a pair.
            shares: whether to compute the overall weights of the pictures.
        """
        size = pictures[0].shape[-2:]
        answers, features = self.corrections.decode_fine(fine.features, coarse.deep, coarse.decision, size)
        with torch.autocast(pictures[0].device.type, enabled=False):
            own = [gain * level.energy for gain, level in zip(self.log_gain.exp(), fine.levels)]
            weights = [self._weights(*one, there) for one in zip(own, fine.levels, answers)]
            if told.exposures is not None:
                weights = [light.soften(weight, coarse.exposed, told.exposures) for weight in weights]
            fused = pyramid.collapse_pyramid([*map(pyramid.mix, fine.bands, weights), coarse.fused])
            if told.infrared is not None:
                infrared = _mixed(pictures, told.infrared)
                fused = floor.lift_targets(fused, infrared, coarse.surroundings, self.warm_floor)
            chosen = None
            if told.focus is not None:
                regions = refine_regions(fine.sharpness[:-1], coarse.regions, size) if fine.sharpness else None
                chosen = self.choice.decide(weights, coarse.votes, fine.levels[0], fine.bands[0], features, there,
                                            regions)
                fused = torch.where(told.focus, _mixed(pictures, chosen), fused)
            if self.overshoot is not None:
                fused = _bend_back(fused, *_range(pictures, there), self.overshoot)
            parts, whole = (None, None, None), None
            components = components and len(pictures) == 2
            if components or shares:
                whole = (spread or coarse.spread(size)).with_bands(weights, fine.levels)
                whole = whole if chosen is None else torch.where(told.focus, chosen[:-1], whole)
            if components:
                parts = components_of(*pictures, whole[0])
        energies = [level.energy for level in [*fine.levels, *coarse.levels[:-1]]]
        return HRDecomposition(*parts, fused, weights=[*weights, *coarse.weights], energies=energies,
                               bases=coarse.bases, base=coarse.base, choice=chosen,
                               shares=with_last(whole) if shares else None)

    def _levels(self, gaussian: list[Tensor], bands: list[Tensor], evidence: list[Tensor]) -> list[Level]:
        """The network's input for each level of ``gaussian``; levels after the bands are the base."""
        energies = [pyramid.band_energy(band, self.window).log() for band in bands]
        return [Level(picture.mean(dim=2, keepdim=True), seen, energy)
                for picture, seen, energy in zip_longest(gaussian, evidence[:len(gaussian)], energies)]

    def _weights(self, own: Tensor, level: Level, answer: Tensor, there: Tensor | None) -> Tensor:
        """Weights of the pictures at a level, (N, B, 1, h, w); ``own``: logits of its energy or exposure."""
        correction, trust = self.corrections.judge(answer, own.shape[0], there)
        seen = level.evidence - mean_of(level.evidence, there)  # the softmax ignores the mean; keeps numbers small
        logits = own - mean_of(own, there) + (trust * seen).sum(dim=2, keepdim=True) + correction
        return pyramid.mixing_weights(logits if there is None else logits.masked_fill(~there, -torch.inf))


def _bend_back(x: Tensor, low: Tensor, high: Tensor, limit: float) -> Tensor:
    """Compress values outside [low, high] to within ``limit`` of it, smoothly and with non-zero gradients."""
    inside = torch.minimum(torch.maximum(x, low), high)
    return inside + limit * torch.tanh((x - inside) / limit)


def limit_shift(weights: Tensor, bases: Tensor, limit: float, present: Tensor | None = None) -> Tensor:
    """Limit the weights of the bases so that the mix stays within ``limit`` of their mean, in grey.

    Args:
        weights: (N, B, 1, h, w), summing to 1 over N.
        bases: (N, B, C, h, w).
        limit: largest shift, in the units of the bases.
        present: (N, B, 1, 1, 1) bool, which pictures a scene has; None: all.
    """
    even = 1 / weights.shape[0] if present is None else present / present.sum(dim=0)
    shift = pyramid.mix(bases.mean(dim=2, keepdim=True), weights - even).abs() / limit
    shift = shift.clamp(min=1e-3)
    return even + (weights - even) * torch.tanh(shift) / shift


def _mixed(pictures: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Weighted sum of N pictures, as a list or stacked (a stack of large pictures would be another copy)."""
    if isinstance(pictures, Tensor):
        return pyramid.mix(pictures, weights)
    return sum(x * weight for x, weight in zip(pictures, weights))


def _range(pictures: Sequence[Tensor], there: Tensor | None) -> tuple[Tensor, Tensor]:
    """Smallest and largest value at each pixel and channel; every scene has its first two pictures."""
    if isinstance(pictures, Tensor):
        return pictures.amin(dim=0), pictures.amax(dim=0)
    low, high = pictures[0], pictures[0]
    for index, picture in enumerate(pictures[1:], 1):
        seen = picture if there is None else torch.where(there[index], picture, pictures[0])
        low, high = torch.minimum(low, seen), torch.maximum(high, seen)
    return low, high


@torch.no_grad()
def components_of(x1: Tensor, x2: Tensor, whole: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Common and unique parts of a pair, see ``HRDecomposition``, from the overall weight of the first picture."""
    unique1, unique2 = (2 * whole - 1).clamp(min=0) * x1, (1 - 2 * whole).clamp(min=0) * x2
    return torch.minimum(whole, 1 - whole) * (x1 + x2), unique1, unique2
