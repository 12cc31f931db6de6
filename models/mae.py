"""Masked autoencoders (He et al., arXiv 2111.06377), the teachers of stage 2, and their pretraining.

Weights have the names of the official files, so that both can be read: timm's names for the encoder (``blocks.N.*``,
``norm.*``), and names starting with ``decoder_`` for the decoder.

Shape letters: B batch, N patches, K kept patches, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.defusion import IMAGENET_MEAN, IMAGENET_STD
from models.encoder import Encoder, PositionTable
from models.layers import choose_kept, keep_tokens, pixels_to_tokens, restore_tokens, tokens_to_pixels, vit_block
from models.protocol import Traits
from models.registry import LOSSES, MODELS
from utils.errors import UserError
from utils.signatures import Count, Share

SIZES = {"tiny": 192, "small": 384, "base": 768}  # widths; 12 blocks each
HEAD_WIDTH = 64


class MAEEncoder(Encoder):
    """The vision transformer of a MAE: equal heads in all blocks and a final norm.

    Args:
        embed_dim: width D, a multiple of 64; each head has width 64.
        depth: blocks.
    """

    def __init__(self, embed_dim: int = 768, depth: int = 12) -> None:
        if embed_dim % HEAD_WIDTH:
            raise ValueError(f"MAEEncoder: width {embed_dim} is not a multiple of {HEAD_WIDTH}, the width of a head")
        super().__init__(embed_dim, depth, embed_dim // HEAD_WIDTH, last_heads=None, drop_path=0.0)

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """Encode normalised images to the last layer's tokens, after the final norm (unlike :class:`Encoder`).

        Args:
            x: (B, 3, H, W), H and W multiples of 16.
            kept: (B, K) indices of the visible patches; None: all.

        Returns:
            (B, 1 + K, D), class token first.
        """
        tokens = self.embed(x)
        if kept is not None:
            tokens = keep_tokens(tokens, kept)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)


@dataclass
class MaskedPrediction:
    """The prediction of a masked autoencoder.

    Attributes:
        prediction: (B, N, 768) pixels of every patch, normalised like the targets.
        hidden: (B, N), 0 for visible and 1 for masked patches.
    """

    prediction: Tensor
    hidden: Tensor


@MODELS.register("MAE")
class MAE(MAEEncoder):
    """Masked autoencoder for pretraining; its encoder half is what stage 2 uses as a teacher.

    Args:
        size: tiny, small or base; ViT/16 of width 192, 384 or 768.
        mask_ratio: share of masked patches.
        norm_pix_loss: normalise each target patch to mean 0 and variance 1.
        decoder_width: width of the decoder, a multiple of 16 (its 16 heads).
        decoder_depth: blocks of the decoder.
        depth: blocks of the encoder.
    """

    traits = Traits(training="pictures", loss="MAELoss", gives=MaskedPrediction, section="mae")
    decoder_heads = 16

    def __init__(self, *, size: str = "base", mask_ratio: Share = 0.75, norm_pix_loss: bool = True,
                 decoder_width: Count = 512, decoder_depth: Count = 8, depth: Count = 12) -> None:
        if size not in SIZES:
            raise UserError(f"mae.size: {size!r} is unknown; give {', '.join(SIZES)}")
        super().__init__(SIZES[size], depth)
        self.mask_ratio, self.norm_pix_loss = mask_ratio, norm_pix_loss
        self.decoder_embed = nn.Linear(self.embed_dim, decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        self.decoder_position = PositionTable(decoder_width)
        self.decoder_blocks = nn.Sequential(
            *(vit_block(decoder_width, self.decoder_heads, eps=1e-6) for _ in range(decoder_depth)))
        self.decoder_norm = nn.LayerNorm(decoder_width, eps=1e-6)
        self.decoder_pred = nn.Linear(decoder_width, 3 * self.patch_size**2)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.reset_parameters()
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, x: Tensor, noise: Tensor) -> MaskedPrediction:
        """Encode the patches with the smallest noise, decode all.

        Args:
            x: (B, 3, H, W) in [0, 1], H and W multiples of 16.
            noise: (B, N) uniform random numbers.
        """
        kept = choose_kept(noise, self.mask_ratio)
        grid = x.shape[2] // self.patch_size, x.shape[3] // self.patch_size
        tokens = self.decoder_embed(super().forward(self.normalise(x), kept))
        tokens = restore_tokens(tokens, kept, self.mask_token, noise.shape[1]) + self.decoder_position(grid, tokens)
        prediction = self.decoder_pred(self.decoder_norm(self.decoder_blocks(tokens)))[:, 1:]
        return MaskedPrediction(prediction, torch.ones_like(noise).scatter(1, kept, 0.0))

    def decompose(self, x1: Tensor, x2: Tensor) -> None:
        """Raise an error: a MAE cannot fuse.

        Raises:
            UserError: always.
        """
        raise UserError("model: MAE reconstructs pictures of one modality and fuses nothing; give DeFusionPP")

    def normalise(self, x: Tensor) -> Tensor:
        """Normalise images in [0, 1] for the encoder."""
        return (x - self.mean) / self.std

    def targets(self, x: Tensor) -> Tensor:
        """Prediction targets: pixels (B, N, 768) of the patches of x (B, 3, H, W) in [0, 1]."""
        patches = pixels_to_tokens(self.normalise(x), self.patch_size)
        if not self.norm_pix_loss:
            return patches
        mean, deviation = self._statistics(patches)
        return (patches - mean) / deviation

    @staticmethod
    def _statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
        return patches.mean(-1, keepdim=True), (patches.var(-1, keepdim=True) + 1e-6).sqrt()

    def picture(self, x: Tensor, out: MaskedPrediction) -> Tensor:
        """x (B, 3, H, W) in [0, 1] with masked patches predicted, each with its true mean and variance."""
        patches = pixels_to_tokens(self.normalise(x), self.patch_size)
        mean, deviation = self._statistics(patches) if self.norm_pix_loss else (0.0, 1.0)
        shown = torch.where(out.hidden.bool().unsqueeze(-1), out.prediction.float() * deviation + mean, patches)
        return self._pixels(shown, x) * self.std + self.mean

    def masked_picture(self, x: Tensor, out: MaskedPrediction) -> Tensor:
        """x (B, 3, H, W) with masked patches in grey."""
        hidden = out.hidden.unsqueeze(-1)
        return self._pixels(pixels_to_tokens(x, self.patch_size) * (1 - hidden) + 0.5 * hidden, x)

    def _pixels(self, patches: Tensor, like: Tensor) -> Tensor:
        grid = like.shape[2] // self.patch_size, like.shape[3] // self.patch_size
        return tokens_to_pixels(patches, grid, self.patch_size)


@LOSSES.register("MAELoss")
class MAELoss(nn.Module):
    """Mean squared error over the masked patches."""

    takes = MaskedPrediction

    def forward(self, out: MaskedPrediction, sample: Tensor) -> dict[str, Tensor]:
        """``reconstruction`` and ``total_loss``, which are equal.

        Args:
            out: the autoencoder's prediction.
            sample: target patches, (B, N, 768), see :meth:`MAE.targets`.
        """
        error = (out.prediction.float() - sample).square().mean(-1)
        loss = (error * out.hidden).sum() / out.hidden.sum()
        return {"reconstruction": loss, "total_loss": loss}
