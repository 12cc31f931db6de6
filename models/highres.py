"""DeFusion++ with a full-resolution fusion head: the salience pyramid, its weights corrected by the network.

A patch of 16 x 16 pixels comes out of 192 numbers, so what the published network draws is soft. Here it decides
instead of drawing: the fused picture is mixed from the two pictures themselves, band by band of a Laplacian
pyramid,

    fused band l = w_l band_l(x1) + (1 - w_l) band_l(x2)
    w_l = sigmoid(g_l (ln E_l(x1) - ln E_l(x2)) + sum_k t_kl (ln V_k(x1) - ln V_k(x2)) + correction_l),  l < L
    w_base = sigmoid(e (exposure(x1) - exposure(x2)) + sum_k t_kL (ln V_k(x1) - ln V_k(x2)) + correction_L)

with local energies E (`models/pyramid.py`), evidence V_k from other bands and further around
(`models/evidence.py`), learned gains g_l and e, and trusts t and corrections by `CorrectionNetwork`, pixel by
pixel, from both pictures and the transformer's tokens. Trusts, corrections and e start at zero, g_l at 8: the
untrained head *is* ``SaliencePyramid``. Bands of two pictures can add up to more than either shows (halos,
clipped edges): what leaves the range of the two pixels is bent back, at most ``overshoot`` stays outside. The base's
brightness stays within ``base_shift`` of the mean of both. (Ours: not part of the published method, whose losses
the transformer keeps.)

Large pictures. ``decompose`` takes a pair of any size. When the transformer should see windows only:

    maps = context(window of x1, window of x2)    for each window: (B, K, H / 4, W / 4), smooth; blend like a picture
    result = fuse(x1, x2, maps)                   once, for the whole picture; K = model.map_channels

A window's sides are multiples of 16 and its corner a multiple of ``map_stride`` = 4 pixels. ``fuse`` takes maps
of ceil(H / 4) x ceil(W / 4) pixels. With ``use_tokens=False`` there are no maps: ``fuse(x1, x2, None)``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import pyramid
from models.corrections import CorrectionNetwork
from models.defusion import Decomposition, DeFusionPP, PairTokens
from models.evidence import gather_evidence
from models.layers import choose_kept
from models.registry import MODELS


@dataclass
class HRDecomposition(Decomposition):
    """A decomposition in full resolution.

    ``common``, ``unique1`` and ``unique2`` are for display: with W the weight of the first picture over all
    bands, unique1 = max(2 W - 1, 0) x1, unique2 = max(1 - 2 W, 0) x2, and common is what is left of the mix
    W x1 + (1 - W) x2, so that the three add up to it.

    Attributes:
        weights: of the first picture for each band and the base, L + 1 tensors (B, 1, h, w) in [0, 1].
        energies: logarithms of both pictures' energies, L tensors (2, B, 1, h, w).
        bases: bases of the two pictures, (2, B, 3, h, w).
        base: the mixed base, (B, 3, h, w).
        patches: what the published heads draw (training, or with ``patches=True``), patch resolution.
    """

    weights: list[Tensor] = field(default_factory=list)
    energies: list[Tensor] = field(default_factory=list)
    bases: Tensor | None = None
    base: Tensor | None = None
    patches: Decomposition | None = None


@MODELS.register("DeFusionPPHR")
class DeFusionPPHR(DeFusionPP):
    """The published network with a full-resolution fusion head.

    Symmetric: the correction is antisymmetric by construction, and in inference the transformer's common features
    are the mean of both orders of the pair.

    Args:
        use_tokens: the head sees the transformer. False: the head alone decides, and the transformer is not
            there (the control that shows what the transformer is worth).
        frozen: the transformer stays as it was loaded and only the head is trained, without the published losses.
        levels: bands of the pyramid.
        window: side of the energies' window, odd.
        widths: channels of the correction network at the levels 1 .. ``levels``.
        token_channels: channels to which an image's tokens are projected for the head.
        bound: largest correction of a logit.
        trust_bound: largest trust in a kind of evidence.
        base_shift: how far the mixed base may lie from the plain mean of both, in grey of [0, 1]: focus settings can
            be chosen freely, but no overexposed picture's brightness takes over (a veil).
        overshoot: how far a pixel may leave the range of the two source pixels; None: as far as the bands take it.
        **transformer: keywords of ``DeFusionPP``.
    """

    map_stride = 4
    added = ("unique_map.", "shared_map.", "corrections.", "log_gain", "exposure_gain")  # to the published network

    def __init__(self, *, use_tokens: bool = True, frozen: bool = False, levels: int = pyramid.LEVELS,
                 window: int = pyramid.WINDOW, widths: Sequence[int] = (16, 24, 32, 48, 48),
                 token_channels: int = 12, bound: float = 3.0, trust_bound: float = 24.0,
                 base_shift: float = 0.2, overshoot: float | None = 0.1, **transformer) -> None:
        super().__init__(**transformer)
        self.frozen = frozen or not use_tokens
        dim = self.common_head.in_features
        if not use_tokens:
            self._drop_transformer()
        if self.frozen:
            self.requires_grad_(False)
        self.use_tokens, self.levels, self.window = use_tokens, levels, window
        self.base_shift, self.overshoot = base_shift, overshoot
        self.tile_scale = 1 if use_tokens else 4  # without patches the head takes larger windows, which cost it less
        # Of each image its tokens and its decoded unique part; of the pair common and fused, tokens and decoded.
        self.map_sizes = (token_channels + 1, token_channels + 1, token_channels + 2)
        self.map_channels = sum(self.map_sizes) if use_tokens else 0
        if use_tokens:
            self.unique_map = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, token_channels))
            self.shared_map = nn.Sequential(nn.LayerNorm(2 * dim), nn.Linear(2 * dim, token_channels))
        self.corrections = CorrectionNetwork(levels, widths, self.map_channels, bound, trust_bound)
        self.log_gain = nn.Parameter(torch.full((levels,), pyramid.GAIN).log())
        self.exposure_gain = nn.Parameter(torch.zeros(()))

    def _drop_transformer(self) -> None:
        for name in [name for name, _ in self.named_children()]:
            delattr(self, name)
        del self.mask_token

    def forward(self, x1: Tensor, x2: Tensor, noise: Tensor, swapped: bool = False) -> HRDecomposition:
        """Training pass; arguments as in ``DeFusionPP.forward``. The published outputs are in ``patches``."""
        if not self.use_tokens:
            return self.fuse(x1, x2)
        grid = self.grid(x1)
        if self.frozen:
            with torch.no_grad():
                seen = self._see(x1, x2)
            return self.fuse(x1, x2, self._maps(*seen, grid))
        tokens = self.separate(*self.encode(x1, x2), swapped)
        features = self.finish(tokens)
        patches = self.paint(*features, grid)
        kept = choose_kept(noise, self.mask_ratio)
        patches.recon = self.reconstruct(tokens.select(kept), kept, grid)
        result = self.fuse(x1, x2, self._maps(features, patches, grid))
        result.patches, result.recon = patches, patches.recon
        return result

    def train(self, mode: bool = True) -> "DeFusionPPHR":
        """Training mode for what is trained: a frozen transformer keeps its dropout off."""
        super().train(mode)
        if self.frozen:
            for name, part in self.named_children():
                if not f"{name}.".startswith(self.added):
                    part.eval()
        return self

    def decompose(self, x1: Tensor, x2: Tensor, *, patches: bool = False) -> HRDecomposition:
        """Inference pass on (B, 3, H, W) in [0, 1], any H and W from 16 up, the transformer on the whole of it.

        Args:
            patches: also hand out what the published heads draw (sides cut to H and W).
        """
        if not self.use_tokens:
            return self.fuse(x1, x2)
        height, width = x1.shape[-2:]
        drawn, maps = self._look(*(_pad(x, self.patch_size) for x in (x1, x2)))
        stride = self.map_stride
        result = self.fuse(x1, x2, maps[..., : -(-height // stride), : -(-width // stride)])
        if patches:
            names = ("common", "unique1", "unique2", "fused")
            result.patches = Decomposition(*(getattr(drawn, name)[..., :height, :width] for name in names))
        return result

    def context(self, x1: Tensor, x2: Tensor) -> Tensor:
        """What the transformer tells the head about a window: maps (B, K, H / 4, W / 4).

        Args:
            x1, x2: (B, 3, H, W) in [0, 1], H and W multiples of 16.

        Raises:
            ValueError: the model has no such maps (``use_tokens=False``).
        """
        if not self.use_tokens:
            raise ValueError("DeFusionPPHR.context: use_tokens=False, the head takes no maps; call fuse(x1, x2)")
        return self._look(x1, x2)[1]

    def fuse(self, x1: Tensor, x2: Tensor, maps: Tensor | None = None) -> HRDecomposition:
        """Mix two pictures of any size.

        Args:
            x1, x2: (B, 3, H, W) in [0, 1].
            maps: from ``context``, (B, K, ceil(H / 4), ceil(W / 4)); None exactly if the model uses no tokens.
        """
        if (maps is not None) != self.use_tokens:
            raise ValueError(f"DeFusionPPHR.fuse: use_tokens={self.use_tokens}, but maps are "
                             f"{'missing' if maps is None else 'given'}; get them from context exactly if so")
        with torch.autocast(x1.device.type, enabled=False):
            *bands, bases = pyramid.build_pyramids((x1.float(), x2.float()), self.levels)
            energies = [pyramid.band_energy(band, self.window).log() for band in bands]
            greys = _grey_pyramid(bands, bases)
            evidence = gather_evidence(bands, greys[0], self.levels)
        views = None if maps is None else self._views(maps)
        corrections, trusts = self.corrections(energies, greys, evidence, views)
        with torch.autocast(x1.device.type, enabled=False):
            gains = self.log_gain.exp()
            exposure = pyramid.exposure_logits(bases)
            own = [gain * (energy[0] - energy[1]) for gain, energy in zip(gains, energies)]
            own.append(self.exposure_gain * (exposure[0] - exposure[1]))
            logits = [logit + (trust * (wide[0] - wide[1])).sum(dim=1, keepdim=True) + correction
                      for logit, trust, wide, correction in zip(own, trusts, evidence, corrections)]
            weights = [logit.sigmoid() for logit in logits]
            weights[-1] = limit_shift(weights[-1], bases, self.base_shift)
            return self._mix(x1, x2, bands, bases, weights, energies)

    def _mix(self, x1: Tensor, x2: Tensor, bands: list[Tensor], bases: Tensor, weights: list[Tensor],
             energies: list[Tensor]) -> HRDecomposition:
        mixed = [torch.lerp(pair[1], pair[0], weight) for pair, weight in zip([*bands, bases], weights)]
        fused = pyramid.collapse_pyramid(mixed)
        if self.overshoot is not None:
            fused = _bend_back(fused, torch.minimum(x1, x2), torch.maximum(x1, x2), self.overshoot)
        with torch.no_grad():
            whole = _overall_weight(weights, energies)
            unique1, unique2 = (2 * whole - 1).clamp(min=0) * x1, (1 - 2 * whole).clamp(min=0) * x2
            common = torch.minimum(whole, 1 - whole) * (x1 + x2)
        return HRDecomposition(common, unique1, unique2, fused, weights=weights, energies=energies,
                               bases=bases, base=mixed[-1])

    def _look(self, x1: Tensor, x2: Tensor) -> tuple[Decomposition, Tensor]:
        """The transformer on a pair, the same for both orders: what it draws, and its maps."""
        features, drawn = self._see(x1, x2)
        return drawn, self._maps(features, drawn, self.grid(x1))

    def _see(self, x1: Tensor, x2: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Decomposition]:
        """Finished features of a pair and what the published heads draw, with common as the mean of both orders."""
        f, r = self.encode(x1, x2)
        tokens = self.separate(f, r)
        tokens = PairTokens(
            (tokens.common + self._common(self.common_cross, f, swapped=True)) / 2,
            (tokens.common_skip + self._common(self.common_skip_cross, r, swapped=True)) / 2,
            tokens.unique, tokens.unique_skip)
        features = self.finish(tokens)
        return features, self.paint(*features, self.grid(x1))

    def _maps(self, features: tuple[Tensor, Tensor, Tensor], drawn: Decomposition, grid: tuple[int, int]) -> Tensor:
        """Tokens and decoded parts as smooth maps (B, K, H / 4, W / 4): of image 1, of image 2, of the pair."""
        common, unique, fused = features
        first, second = self.unique_map(unique).chunk(2)
        shared = self.shared_map(torch.cat([common, fused], dim=-1))
        size = [side * self.patch_size // self.map_stride for side in grid]
        first, second, shared = (
            pyramid.enlarge(tokens[:, 1:].transpose(1, 2).unflatten(-1, grid), size)
            for tokens in (first, second, shared))
        # The published losses own what is drawn: no gradient of the head reaches the pixel heads.
        seen = (drawn.unique1, drawn.unique2, drawn.common, drawn.fused)
        unique1, unique2, both, everything = (
            F.avg_pool2d(part.detach().mean(dim=1, keepdim=True), self.map_stride).to(first.dtype) for part in seen)
        return torch.cat([first, unique1, second, unique2, shared, both, everything], dim=1)

    def _views(self, maps: Tensor) -> Tensor:
        """Maps from the perspective of each image, (2, B, K, h, w): its own, the other's, the pair's."""
        first, second, shared = maps.split(self.map_sizes, dim=1)
        return torch.stack([maps, torch.cat([second, first, shared], dim=1)])


def _bend_back(x: Tensor, low: Tensor, high: Tensor, limit: float) -> Tensor:
    """Values outside of [low, high] brought to within ``limit`` of it, smoothly and with a gradient everywhere."""
    inside = torch.minimum(torch.maximum(x, low), high)
    return inside + limit * torch.tanh((x - inside) / limit)


def limit_shift(weight: Tensor, bases: Tensor, limit: float) -> Tensor:
    """Weights of the first base (B, 1, h, w) such that the mix stays within ``limit`` of the mean of both, in grey."""
    shift = ((weight - 0.5) * (bases[0] - bases[1]).mean(dim=1, keepdim=True)).abs() / limit
    shift = shift.clamp(min=1e-3)
    return 0.5 + (weight - 0.5) * torch.tanh(shift) / shift


def _pad(x: Tensor, multiple: int) -> Tensor:
    """Replicate the last row and column up to a multiple."""
    return F.pad(x, (0, -x.shape[-1] % multiple, 0, -x.shape[-2] % multiple), mode="replicate")


def _grey_pyramid(bands: list[Tensor], bases: Tensor) -> list[Tensor]:
    """Gaussian pyramid of the channel means, L + 1 tensors (2, B, 1, h, w), from the Laplacian one."""
    greys = [bases.mean(dim=2, keepdim=True)]
    for band in reversed(bands):
        coarse = pyramid.enlarge(greys[0].flatten(0, 1), band.shape[-2:]).view(*band.shape[:2], 1, *band.shape[-2:])
        greys.insert(0, coarse + band.mean(dim=2, keepdim=True))
    return greys


def _overall_weight(weights: list[Tensor], energies: list[Tensor]) -> Tensor:
    """One weight of the first picture for all bands, (B, 1, H, W): the mean over the bands by their energy."""
    size = weights[0].shape[-2:]
    total = norm = 0
    for weight, energy in zip(weights, energies):
        strength = energy.exp().sum(dim=0)
        total = total + pyramid.enlarge(weight * strength, size)
        norm = norm + pyramid.enlarge(strength, size)
    return total / norm
