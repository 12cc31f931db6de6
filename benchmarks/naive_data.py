"""Training pairs made individually in loader workers with torchvision, following METHOD.md, section 2."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from data.synthesis import COARSE_GRID, FINE_GRIDS


class NaivePairs(Dataset):
    """Photographs of a folder as x1, x2, common, unique1, unique2 and target, each (3, S, S) in [0, 1].

    Args:
        root: folder of photographs.
        size: side S.
    """

    def __init__(self, root: Path, size: int = 224) -> None:
        self.files = sorted(path for path in root.iterdir() if path.is_file())
        self.transform = v2.Compose([
            v2.ToDtype(torch.float32, scale=True),
            v2.ColorJitter(brightness=(0.1, 1.0), contrast=(0.1, 1.0), saturation=(0.1, 1.0)),
            v2.RandomResizedCrop(size, antialias=True)])
        self.size = size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        x = self.transform(v2.functional.pil_to_tensor(Image.open(self.files[index]).convert("RGB")))
        m1, m2 = draw_naive_masks(self.size)
        x1, x2 = (m * x + (1 - m) * torch.randn_like(x).abs().clamp(0, 1) for m in (m1, m2))
        c = m1 * m2
        return x1, x2, c * x, (m1 - c) * x, (m2 - c) * x, x


def draw_naive_masks(size: int) -> tuple[Tensor, Tensor]:
    """Two masks (S, S) of 0 and 1; at least one is 1 everywhere."""
    p = 0.1 + float(torch.rand(())) / 1.12
    g2, g3 = (FINE_GRIDS[int(torch.rand(()) < 0.5)] for _ in range(2))

    def grid(cells: int) -> Tensor:
        index = torch.arange(size) * cells // size
        return (torch.rand(cells, cells) < p).float()[index][:, index]

    m1, m2 = grid(COARSE_GRID) * grid(g2), grid(COARSE_GRID) * grid(g2)
    choice = float(torch.rand(()))
    third = grid(COARSE_GRID if choice < 0.33 else g2 if choice < 0.66 else g3)
    empty = (m1 + m2 == 0).float()
    m1, m2 = m1 + empty * third, m2 + empty * (1 - third)
    return (m2, m1) if torch.rand(()) < 0.5 else (m1, m2)


def naive_loader(root: Path, *, batch_size: int, workers: int, size: int = 224) -> DataLoader:
    """Shuffled batches of :class:`NaivePairs`."""
    return DataLoader(NaivePairs(root, size), batch_size, shuffle=True, num_workers=workers, drop_last=True,
                      persistent_workers=workers > 0)
