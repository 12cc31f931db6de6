"""Other people's programs as fusion models, to compare with: pictures go there and come back as files.

No program is a dependency. It is looked up on the PATH when its model is built.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from models.baselines import per_picture
from models.decomposition import Decomposition
from models.protocol import Role, Task, Traits
from utils.errors import UserError
from utils.pictures.depth import to_integers
from utils.pictures.picture import to_unit
from utils.pictures.reading import read_picture
from utils.pictures.writing import write_picture


class Program(nn.Module):
    """A program that fuses picture files. Subclasses name it and implement :meth:`command`.

    The pictures are written with 16 bits. The program runs without ``PYTHONPATH``, so that its modules are not confused
    with ours.

    Attributes:
        program: its name on the PATH.
        install: how to get it, for the message.
        result: name of the file that it writes.

    Raises:
        UserError: the program is not on the PATH.
    """

    traits = Traits(large="whole", many=True, roles=True, needs_weights=False)
    program: ClassVar[str]
    install: ClassVar[str]
    result: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        found = shutil.which(self.program)
        if found is None:
            raise UserError(f"{type(self).__name__}: no program {self.program} on the PATH; {self.install}")
        self.path = found

    def command(self, sources: Sequence[str], task: Task) -> list[str]:
        """Arguments of the program.

        Args:
            sources: names of the files to fuse, in its working directory.
            task: kind of the scene.
        """
        raise NotImplementedError

    def decompose(self, *images: Tensor, roles: Sequence[Role] = (), task: Task = "none",
                  components: bool = False) -> Decomposition:
        """Fuse images (B, C, H, W) in [0, 1] of one scene.

        Args:
            images: two or more.
            roles, components: ignored.
            task: selects the program's settings.

        Raises:
            UserError: the program failed; with its last line.
        """
        fused = per_picture(partial(self._fuse, task=task), images)
        return Decomposition(common=None, unique1=None, unique2=None, fused=fused)

    def _fuse(self, images: np.ndarray, task: Task) -> np.ndarray:
        """(N, H, W, C) in [0, 1] -> (H, W, C)."""
        with tempfile.TemporaryDirectory() as folder:
            names = [f"{index:03}.png" for index in range(len(images))]
            for name, image in zip(names, images):
                write_picture(Path(folder, name), to_integers(image, 16))
            self._call(self.command(names, task), folder)
            fused = to_unit(read_picture(Path(folder, self.result))).transpose(1, 2, 0)
        return np.broadcast_to(fused[..., :images.shape[-1]], images.shape[1:])

    def _call(self, arguments: Sequence[str], folder: str) -> None:
        """Run the program.

        Raises:
            UserError: it failed, or wrote nothing.
        """
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run([self.path, *arguments], cwd=folder, env=environment, capture_output=True, text=True,
                              errors="replace")
        if done.returncode or not Path(folder, self.result).exists():
            last = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-1:]
            raise UserError(f"{self.path} failed with exit code {done.returncode}; {type(self).__name__}; "
                            f"it said: {''.join(last) or 'nothing'}")
