"""Makes training pairs from photographs: crop, jitter, masks and damage, batched on the training device.

Source: docs/METHOD.md, section 2. There are no loops over samples, the same code runs on CPU and GPU, and all random
numbers come from the given generators.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from data.registry import SCENARIOS
from data.sample import Sample, join_samples, select_samples
from utils.pictures.colour import TORCHVISION_LUMA, luma

COARSE_GRID = 13
FINE_GRIDS = (26, 27)
JITTER_LOW = 0.1  # smallest factor, as published; a damage can override it with its attribute jitter_low


def random_boxes(sizes: Tensor, generator: torch.Generator, *, area: tuple[float, float] = (0.08, 1.0),
                 ratio: tuple[float, float] = (3 / 4, 4 / 3), attempts: int = 10) -> Tensor:
    """Draw the boxes of RandomResizedCrop for a whole batch.

    All attempts of all photographs are drawn at once, and the first that fits is used; the fallback is torchvision's
    central crop.

    Args:
        sizes: (B, 2) height and width of each photograph, int64.

    Returns:
        (B, 4) top, left, height, width; int64.
    """
    device, batch = sizes.device, sizes.shape[0]
    h, w = sizes[:, :1].float(), sizes[:, 1:].float()
    draws = torch.rand(2, batch, attempts, generator=generator, device=device)
    place = torch.rand(2, batch, 1, generator=generator, device=device)
    target_area = h * w * (area[0] + (area[1] - area[0]) * draws[0])
    low, high = torch.tensor(ratio, device=device).log()
    aspect = (low + (high - low) * draws[1]).exp()
    box_w = (target_area * aspect).sqrt().round()
    box_h = (target_area / aspect).sqrt().round()
    fits = (box_w > 0) & (box_w <= w) & (box_h > 0) & (box_h <= h)
    first = fits.int().argmax(dim=1, keepdim=True)
    found = fits.any(dim=1, keepdim=True)
    central_w = torch.minimum(w, (h * ratio[1]).round())
    central_h = torch.minimum(h, (w / ratio[0]).round())
    box_w = torch.where(found, box_w.gather(1, first), central_w)
    box_h = torch.where(found, box_h.gather(1, first), central_h)
    room_h, room_w = h - box_h, w - box_w
    top = torch.where(found, (place[0] * (room_h + 1)).floor().minimum(room_h), (room_h / 2).floor())
    left = torch.where(found, (place[1] * (room_w + 1)).floor().minimum(room_w), (room_w / 2).floor())
    return torch.cat([top, left, box_h, box_w], dim=1).long()


def _resize_matrix(start: Tensor, length: Tensor, size: int, source: int) -> Tensor:
    """Matrices (B, size, source) of an antialiased bilinear resize of ``length`` pixels from ``start``.

    The triangle filter of ``interpolate(mode="bilinear", antialias=True)``: its support grows with the reduction
    factor; weights outside the box are dropped and the rest normalised.
    """
    start, length = start.float().view(-1, 1, 1), length.float().view(-1, 1, 1)
    scale = length / size
    support = scale.clamp(min=1.0)
    centre = (torch.arange(size, device=start.device).view(1, -1, 1) + 0.5) * scale
    pixel = torch.arange(source, device=start.device).view(1, 1, -1) - start
    weight = (1 - ((pixel + 0.5 - centre) / support).abs()).clamp(min=0)
    weight = weight * ((pixel >= 0) & (pixel < length))
    return weight / weight.sum(dim=-1, keepdim=True)


def crop_resize(pixels: Tensor, boxes: Tensor, size: int, flip: Tensor | None = None) -> Tensor:
    """Crop each photograph to a box and resize it (bilinear, antialiased) by two matrix products.

    Args:
        pixels: (B, C, Hmax, Wmax), uint8 or float, padded at the right and bottom.
        boxes: (B, 4) top, left, height, width.
        size: side S of the result in pixels.
        flip: (B,) bool, flip horizontally.

    Returns:
        (B, C, S, S) float32; uint8 input is scaled to [0, 1].
    """
    rows = _resize_matrix(boxes[:, 0], boxes[:, 2], size, pixels.shape[2])
    columns = _resize_matrix(boxes[:, 1], boxes[:, 3], size, pixels.shape[3])
    if flip is not None:
        columns = torch.where(flip.view(-1, 1, 1), columns.flip(1), columns)
    x = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
    with torch.autocast(pixels.device.type, enabled=False):
        return rows.unsqueeze(1) @ x @ columns.transpose(1, 2).unsqueeze(1)


def colour_jitter(x: Tensor, mean_grey: Tensor, generator: torch.Generator,
                  low: float | Tensor = JITTER_LOW) -> Tensor:
    """Scale brightness, contrast and saturation by factors U(low, 1), drawn once per photograph.

    Since no factor exceeds 1, nothing is clipped and the order does not matter:
    ``b (k (t x + (1 - t) grey) + (1 - k) mean grey)``.

    Args:
        x: (B, 3, H, W) in [0, 1].
        mean_grey: (B,) mean grey of each whole photograph, before the crop.
        low: smallest factor, a number or (B,).
    """
    factors = torch.rand(3, x.shape[0], 1, 1, 1, generator=generator, device=x.device)
    low = low.view(-1, 1, 1, 1) if isinstance(low, Tensor) else low
    b, k, t = low + (1 - low) * factors
    grey = luma(x, TORCHVISION_LUMA)
    return b * (k * (t * x + (1 - t) * grey) + (1 - k) * mean_grey.view(-1, 1, 1, 1))


def _enlarge(cells: Tensor, grid: Tensor, size: int) -> Tensor:
    """Enlarge the first ``grid`` (B,) cells per side of (B, K, G, G) to (B, K, S, S) by nearest neighbour."""
    index = torch.arange(size, device=cells.device).view(1, -1) * grid.view(-1, 1) // size
    rows = index.view(-1, 1, size, 1).expand(-1, cells.shape[1], -1, cells.shape[3])
    columns = index.view(-1, 1, 1, size).expand(-1, cells.shape[1], size, -1)
    return cells.gather(2, rows).gather(3, columns)


def draw_masks(batch: int, size: int, generator: torch.Generator, device: torch.device | str) -> Tensor:
    """Draw the two masks of noise damage, with m1 + m2 >= 1 everywhere.

    Returns:
        (B, 2, S, S) float32, zeros and ones.
    """
    masks = fill_masks(*overlapping_masks(batch, size, generator, device), generator)
    swap = torch.rand(batch, generator=generator, device=device) < 0.5
    return torch.where(swap.view(-1, 1, 1, 1), masks.flip(1), masks)


def overlapping_masks(batch: int, size: int, generator: torch.Generator,
                      device: torch.device | str) -> tuple[Tensor, Tensor, Tensor]:
    """Draw two masks per photograph, each the product of a coarse and a fine grid; both may drop the same pixel.

    Returns:
        Masks (B, 2, S, S), their density p (B, 1, 1, 1), and the cells per side of the fine grids g2 and g3, (2, B);
        g3 is used by :func:`fill_masks`.
    """
    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    p = (0.1 + rand(batch) / 1.12).view(-1, 1, 1, 1)
    fine = FINE_GRIDS[0] + (rand(2, batch) < 0.5).long()
    largest = max(FINE_GRIDS)
    coarse_cells = (rand(batch, 2, COARSE_GRID, COARSE_GRID) < p).float()
    fine_cells = (rand(batch, 2, largest, largest) < p).float()
    coarse = torch.full_like(fine[0], COARSE_GRID)
    return _enlarge(coarse_cells, coarse, size) * _enlarge(fine_cells, fine[0], size), p, fine


def fill_masks(masks: Tensor, p: Tensor, fine: Tensor, generator: torch.Generator) -> Tensor:
    """Assign pixels dropped by both masks to the first mask by a third grid of density p, else to the second."""
    batch, size, largest = masks.shape[0], masks.shape[-1], max(FINE_GRIDS)
    choice = torch.rand(batch, generator=generator, device=masks.device)
    cells = torch.rand(batch, 1, largest, largest, generator=generator, device=masks.device) < p
    coarse = torch.full_like(fine[0], COARSE_GRID)
    grid = torch.where(choice < 0.33, coarse, torch.where(choice < 0.66, fine[0], fine[1]))
    fill = _enlarge(cells.float(), grid, size)
    empty = (masks.sum(dim=1, keepdim=True) == 0).float()
    return masks + empty * torch.cat([fill, 1 - fill], dim=1)


def clipped_noise(shape: torch.Size, generator: torch.Generator, device: torch.device | str) -> Tensor:
    """|N(0, 1)| clipped to [0, 1]."""
    return torch.randn(shape, generator=generator, device=device).abs_().clamp_(max=1)


@SCENARIOS.register("noise")
def noise_damage(x: Tensor, generator: torch.Generator) -> Sample:
    """The published damage: pixels dropped by a mask are replaced by noise (docs/METHOD.md, section 2).

    Args:
        x: photographs, (B, 3, S, S) in [0, 1].
    """
    mask1, mask2 = draw_masks(x.shape[0], x.shape[-1], generator, x.device).split(1, dim=1)
    x1 = torch.lerp(clipped_noise(x.shape, generator, x.device), x, mask1)
    x2 = torch.lerp(clipped_noise(x.shape, generator, x.device), x, mask2)
    return Sample(x1, x2, mask1, mask2, x)


class Synthesizer:
    """Makes training samples from photographs.

    Args:
        image_size: side S of the pictures in pixels.
        scenarios: name of a damage -> its share of the samples; shares are normalised.
        jitter: whether to jitter colours, as published.
        most_pictures: largest number of pictures for a damage that can make stacks (attribute ``stacks``); drawn
            once per batch from 2 to this. 2: pairs only.
    """

    def __init__(self, image_size: int = 224, scenarios: Mapping[str, float] | None = None, *,
                 jitter: bool = True, most_pictures: int = 2) -> None:
        self.image_size = image_size
        self.jitter = jitter
        self.most_pictures = most_pictures
        scenarios = {"noise": 1.0} if scenarios is None else scenarios
        self.damages = [SCENARIOS.get(name) for name in scenarios]
        self.shares = torch.tensor(list(scenarios.values()), dtype=torch.float64)
        self.jitter_lows = torch.tensor([getattr(damage, "jitter_low", JITTER_LOW) for damage in self.damages])

    def photograph(self, batch, generators: Mapping[str, torch.Generator],
                   low: float | Tensor = JITTER_LOW) -> Tensor:
        """Jittered random crops (B, 3, S, S) in [0, 1] from a ``PhotoBatch``; ``low`` as in `colour_jitter`."""
        boxes = random_boxes(batch.sizes, generators["crop"])
        x = crop_resize(batch.pixels, boxes, self.image_size)
        return colour_jitter(x, batch.means, generators["crop"], low) if self.jitter else x

    def __call__(self, batch, generators: Mapping[str, torch.Generator]) -> Sample:
        """Draw a ``Sample`` from a ``PhotoBatch`` on its device.

        Args:
            batch: ``pixels`` uint8 (B, 3, Hmax, Wmax), ``sizes`` (B, 2), ``means`` (B,).
            generators: "crop" and "damage", on the batch's device; with ``most_pictures`` above 2 also "order", on
                the CPU: reading a number of pictures from a GPU would synchronise.
        """
        damage = generators["damage"]
        count = 2
        if self.most_pictures > 2:
            count = int(torch.randint(2, self.most_pictures + 1, (), generator=generators["order"]))
        if len(self.damages) == 1:
            x = self.photograph(batch, generators, float(self.jitter_lows))
            return _damaged(self.damages[0], x, damage, count)
        which = self._choose(batch.pixels.shape[0], damage)
        x = self.photograph(batch, generators, self.jitter_lows.to(which.device)[which])
        return self._mixed(x, which, damage, count)

    def _choose(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw the index of a scenario for each sample, (B,)."""
        drawn = torch.rand(count, generator=generator, device=generator.device, dtype=torch.float64)
        edges = (self.shares.cumsum(0) / self.shares.sum()).to(drawn.device)
        return torch.searchsorted(edges, drawn, right=True).clamp(max=len(self.damages) - 1)

    def _mixed(self, x: Tensor, which: Tensor, generator: torch.Generator, count: int) -> Sample:
        """Apply its scenario to each sample; each scenario processes its samples as one batch."""
        order, parts = [], []
        for index, damage in enumerate(self.damages):
            rows = (which == index).nonzero().squeeze(1)
            if len(rows):
                order.append(rows)
                parts.append(_damaged(damage, x[rows], generator, count))
        return select_samples(join_samples(parts), torch.cat(order).argsort())


def _damaged(damage, x: Tensor, generator: torch.Generator, count: int) -> Sample:
    """Apply a damage, with ``count`` pictures if it can make stacks, and set the task that it imitates."""
    sample = damage(x, generator, count) if getattr(damage, "stacks", False) else damage(x, generator)
    sample.task.fill_(getattr(damage, "task", 0))
    return sample
