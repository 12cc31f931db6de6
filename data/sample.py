"""The output of synthesis: damaged pictures with their ground truth."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from utils.errors import UserError

INFRARED, VISIBLE = 1, 2  # indices of ROLES in `models/protocol.py`, which this package does not import; 0 is none
IVF, MEF, MFF = 1, 2, 3  # indices of its TASKS; 0 is none


@dataclass
class Sample:
    """Synthetic pairs, or stacks of up to N pictures, of one batch.

    At every pixel the largest mask is 1: everything in the target is fully kept by one of the pictures. For a pair,
    c = m1 m2 is therefore the smaller mask, and common + unique1 + unique2 = target exactly.

    Shape letters: B samples, N pictures of the longest stack in the batch, H and W pixels.

    Attributes:
        x1, x2: the damaged pair, or the first two pictures of a stack, (B, 3, H, W) in [0, 1].
        mask1, mask2: share of the target that each keeps, (B, 1, H, W) in [0, 1].
        target: the undamaged photograph, (B, 3, H, W) in [0, 1].
        truth: (B,), 1 if the fused image should equal the target at every pixel, 0 if the target cannot be
            recovered from the pictures at full resolution. Default 0.
        head: (B,), 1 if a full-resolution head may learn from the sample, 0 if the damage would mislead it (with
            noise, the most salient picture is the worst). Default 0. See ``models/highres.py``.
        clean1, clean2: the pair before sensor noise and glare, (B, 3, H, W): the structure that a head should
            keep. Default: the pair itself.
        more: the other pictures of a stack, (B, N - 2, 3, H, W); padded with copies of x1.
        more_masks: their masks, (B, N - 2, 1, H, W); padded with 0.
        more_clean: as clean1, for ``more``.
        count: (B,) int64, number of pictures of each sample. Default 2.
        infrared: (B,) int64, which picture is infrared: 1 or 2; 0 if none. Default 0.
        task: (B,) int64, ``IVF``, ``MEF`` or ``MFF``. Default 0, none.
        warm: (B, 1, H, W) in [0, 1], objects warmer than their surroundings, which should be visible in the fused
            picture. Default 0.
    """

    x1: Tensor
    x2: Tensor
    mask1: Tensor
    mask2: Tensor
    target: Tensor
    truth: Tensor | None = None
    head: Tensor | None = None
    clean1: Tensor | None = None
    clean2: Tensor | None = None
    more: Tensor | None = None
    more_masks: Tensor | None = None
    more_clean: Tensor | None = None
    count: Tensor | None = None
    infrared: Tensor | None = None
    task: Tensor | None = None
    warm: Tensor | None = None

    def __post_init__(self) -> None:
        batch, _, height, width = self.x1.shape
        extra = 0 if self.more is None else self.more.shape[1]

        def default(name: str, value: Tensor) -> None:
            if getattr(self, name) is None:
                setattr(self, name, value)

        default("truth", self.x1.new_zeros(batch))
        default("head", self.x1.new_zeros(batch))
        default("clean1", self.x1)
        default("clean2", self.x2)
        default("more", self.x1.new_zeros(batch, 0, 3, height, width))
        default("more_masks", self.x1.new_zeros(batch, extra, 1, height, width))
        default("more_clean", self.more)
        default("count", torch.full((batch,), 2 + extra, device=self.x1.device))
        default("infrared", torch.zeros(batch, dtype=torch.int64, device=self.x1.device))
        default("task", torch.zeros(batch, dtype=torch.int64, device=self.x1.device))
        default("warm", self.x1.new_zeros(batch, 1, height, width))

    @property
    def pictures(self) -> Tensor:
        """All pictures, x1 and x2 first, (N, B, 3, H, W)."""
        return self._stacked(self.x1, self.x2, self.more)

    @property
    def masks(self) -> Tensor:
        """Share of the target that each picture keeps, (N, B, 1, H, W)."""
        return self._stacked(self.mask1, self.mask2, self.more_masks)

    @property
    def clean(self) -> Tensor:
        """All pictures before sensor noise and glare, (N, B, 3, H, W)."""
        return self._stacked(self.clean1, self.clean2, self.more_clean)

    @property
    def present(self) -> Tensor:
        """Mask of existing pictures, (N, B) bool; False for padding."""
        return torch.arange(2 + self.more.shape[1], device=self.count.device).view(-1, 1) < self.count

    @property
    def roles(self) -> Tensor:
        """Role of each picture, (N, B) int64: ``INFRARED`` or ``VISIBLE``; 0 in samples without an infrared picture."""
        number = torch.arange(1, 3 + self.more.shape[1], device=self.infrared.device).view(-1, 1)
        roles = torch.where(number == self.infrared, INFRARED, VISIBLE)
        return roles * ((self.infrared > 0) & self.present)

    @property
    def shared(self) -> Tensor:
        """Share of the target that both pictures of a pair keep, c = m1 m2, (B, 1, H, W).

        Raises:
            UserError: the samples are stacks.
        """
        if self.more.shape[1]:
            raise UserError("common and unique parts are those of pairs, and synthesis.pictures asks for stacks; "
                            "set synthesis.pictures: 2 for this model")
        return self.mask1 * self.mask2

    @property
    def common(self) -> Tensor:
        """Content shown by both pictures of a pair: c x."""
        return self.shared * self.target

    @property
    def unique1(self) -> Tensor:
        """Content shown only by the first picture of a pair: (m1 - c) x."""
        return (self.mask1 - self.shared) * self.target

    @property
    def unique2(self) -> Tensor:
        """Content shown only by the second picture of a pair: (m2 - c) x."""
        return (self.mask2 - self.shared) * self.target

    @staticmethod
    def _stacked(first: Tensor, second: Tensor, others: Tensor) -> Tensor:
        return torch.cat([first.unsqueeze(0), second.unsqueeze(0), others.transpose(0, 1)])


def stack_of(pictures: Tensor, masks: Tensor, target: Tensor, *, clean: Tensor | None = None,
             truth: Tensor | None = None) -> Sample:
    """Make a ``Sample`` of stacks from which a head may learn.

    Args:
        pictures: (N, B, 3, H, W), N >= 2.
        masks: (N, B, 1, H, W).
        target: (B, 3, H, W).
        clean: the pictures without noise, shaped like ``pictures``; None for ``pictures``.
        truth: as in ``Sample``.
    """
    clean = pictures if clean is None else clean
    return Sample(pictures[0], pictures[1], masks[0], masks[1], target, truth, target.new_ones(target.shape[0]),
                  clean[0], clean[1], *(part[2:].transpose(0, 1) for part in (pictures, masks, clean)))


def join_samples(parts: list[Sample]) -> Sample:
    """Concatenate batches; shorter stacks are padded to the longest.

    Args:
        parts: batches with equal picture sizes.
    """
    longest = max(part.more.shape[1] for part in parts)
    filled = [_filled(part, longest) for part in parts]
    return Sample(*(torch.cat([values[field.name] for values in filled]) for field in fields(Sample)))


def select_samples(sample: Sample, rows: Tensor) -> Sample:
    """Select samples by index, in the given order."""
    return Sample(*(getattr(sample, field.name)[rows] for field in fields(Sample)))


def _filled(part: Sample, longest: int) -> dict[str, Tensor]:
    """The fields of a sample, with stacks padded to ``longest`` pictures after the first two."""
    values = {field.name: getattr(part, field.name) for field in fields(Sample)}
    missing = longest - part.more.shape[1]
    if missing:
        copies = part.x1.unsqueeze(1).expand(-1, missing, -1, -1, -1)
        nothing = part.mask1.new_zeros(part.mask1.shape[0], missing, *part.mask1.shape[1:])
        values["more"] = torch.cat([part.more, copies], dim=1)
        values["more_clean"] = torch.cat([part.more_clean, copies], dim=1)
        values["more_masks"] = torch.cat([part.more_masks, nothing], dim=1)
    return values
