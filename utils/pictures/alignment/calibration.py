"""A map estimated from one good pair of a fixed camera rig, saved to a file and applied to all its pairs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import MissingFileError, UserError
from utils.files import atomic_write
from utils.pictures.alignment.estimate import Alignment

_NUMBERS = "matrix", "size", "moving", "confidence"


@dataclass(frozen=True)
class Calibration:
    """An alignment with its file.

    Attributes:
        kept: the alignment.
        path: the file.
    """

    kept: Alignment
    path: Path

    @classmethod
    def read(cls, path: str | Path) -> Calibration:
        """Read a calibration from a file.

        Raises:
            MissingFileError: no such file.
            UserError: not a calibration.
        """
        path = Path(path)
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            matrix = np.array(stored["matrix"], np.float64)
            size, moving = (tuple(int(side) for side in stored[name]) for name in ("size", "moving"))
            kept = Alignment(matrix, (size[0], size[1]), (moving[0], moving[1]), float(stored["confidence"]))
        except FileNotFoundError as error:
            raise MissingFileError(f"no alignment map {path}; check the path, or make one with defusionpp fuse "
                                   "--align auto --align-map FILE") from error
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise UserError(f"{path}: not an alignment map ({type(error).__name__}: {error}); delete it and make it "
                            "anew with defusionpp fuse --align auto --align-map FILE") from error
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-9:
            raise UserError(f"{path}: matrix should be 3 x 3, finite and invertible; delete the file and make it again")
        return cls(kept, path)

    def write(self) -> None:
        """Write the alignment to its file."""
        values = {name: getattr(self.kept, name) for name in _NUMBERS}
        text = json.dumps({**values, "matrix": self.kept.matrix.tolist()}, indent=1)
        with atomic_write(self.path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    def alignment(self, size: tuple[int, int], moving: tuple[int, int]) -> Alignment:
        """The saved alignment.

        Args:
            size, moving: (width, height) of the reference and of the picture.

        Raises:
            UserError: it was made for pictures of other sizes.
        """
        if (size, moving) != (self.kept.size, self.kept.moving):
            raise UserError(f"{self.path} was made from pictures of {self.kept.moving} on {self.kept.size} (width, "
                            f"height), these are {moving} on {size}; make a map for them")
        return self.kept
