"""Stage 1 with draws that depend on the photograph alone, not on its place in a batch, and without dropout.

    torchrun --nproc_per_node=2 -m tests.utils.alike -opt FILE

So two processes, or two accumulated batches, see exactly what one process sees with the doubled batch.
"""

import dataclasses

import torch
from torch import Tensor

import selftrain
from data.photos import PhotoBatch
from data.sample import Sample
from models.tasks import CUDTask
from option.load import options_from_command_line
from option.schema import Options
from utils.cli import run
from utils.engine.launch import train
from utils.engine.randomness import NAMES


class AlikeTask(CUDTask):
    """Each photograph is cropped, damaged and masked by generators that its own pixels seed."""

    def train(self, mode: bool = True) -> "AlikeTask":
        """Stays in eval mode: no dropout, no stochastic depth."""
        return super().train(False)

    def forward(self, batch: PhotoBatch, generators) -> dict[str, Tensor]:
        """As in :class:`CUDTask`, photograph by photograph up to the network."""
        samples, noises = [], []
        for pixels, size, mean in zip(batch.pixels, batch.sizes, batch.means):
            own = pixels[:, :size[0], :size[1]]
            seeded = {name: torch.Generator().manual_seed(int(own.long().sum()) + number)
                      for number, name in enumerate(NAMES)}
            samples.append(self.synthesize(PhotoBatch(own[None], size[None], mean[None]), seeded))
            patches = (samples[-1].x1.shape[-1] // self.model.patch_size) ** 2
            noises.append(torch.rand(1, patches, generator=seeded["mfm"]))
        fields = [field.name for field in dataclasses.fields(Sample)]
        sample = Sample(*(torch.cat([getattr(one, name) for one in samples]) for name in fields))
        out = self.model(sample.x1, sample.x2, torch.cat(noises), False)
        return self.criterion(out, sample)


def build_task(options: Options) -> AlikeTask:
    """The usual task with its draws replaced."""
    usual = selftrain.build_task(options)
    return AlikeTask(usual.model, usual.synthesize, usual.criterion)


def main(arguments: list[str]) -> None:
    """Reads the options and trains."""
    train(options_from_command_line(arguments, __doc__), build_task, selftrain.build_loader)


if __name__ == "__main__":
    run(main)
