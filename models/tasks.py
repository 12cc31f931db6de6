"""Training tasks: a model, the source of its samples and its losses, combined in one module."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.data_init import initialise_from_data
from models.decomposition import Decomposition

Generators = Mapping[str, torch.Generator]


def draw_noise(x: Tensor, patch: int, generators: Generators) -> Tensor:
    """Uniform random numbers for the patches, (B, N); those with the smallest are kept."""
    patches = (x.shape[2] // patch) * (x.shape[3] // patch)
    return torch.rand(x.shape[0], patches, generator=generators["mfm"], device=x.device)


def draw_mfm(x: Tensor, patch: int, generators: Generators) -> tuple[Tensor, bool]:
    """The random numbers of one training pass: MFM noise (B, N) and a fair coin for the common order."""
    noise, coin = draw_noise(x, patch, generators), generators["order"]
    return noise, bool(torch.rand((), generator=coin, device=coin.device) < 0.5)


class CUDTask(nn.Module):
    """Stage 1: common and unique decomposition with masked feature modelling on photographs.

    Args:
        model: a ``DeFusionPP`` or another model with the same training.
        synthesize: (batch, generators) -> ``Sample``.
        criterion: (output, ``Sample``) -> terms with ``total_loss``.

    Attributes:
        untold: share of the samples whose task and roles are withheld from a model that uses them, so that it also
            learns to fuse without.
    """

    generator_names = ("crop", "damage", "mfm", "order")
    starts_from_data = True
    untold = 0.15

    def __init__(self, model: nn.Module, synthesize: Callable, criterion: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.synthesize = synthesize
        self.criterion = criterion
        for name, weight in model.named_parameters():
            if name.startswith(model.traits.unused):
                weight.requires_grad_(False)  # never receives a gradient

    def forward(self, batch, generators: Generators) -> dict[str, Tensor]:
        """Loss terms of a batch of photographs as batch means, by their published names."""
        sample = self.synthesize(batch, generators)
        return self.criterion(self.decompose(sample, generators), sample)

    def initialise(self, batches: Iterable[Any], generators: Generators) -> None:
        """Set the initial weights from batches of photographs (``train.init: data``)."""
        initialise_from_data(self.model, [self.synthesize(batch, generators) for batch in batches], generators)

    def decompose(self, sample, generators: Generators) -> Decomposition:
        """The model's training pass on a sample."""
        words = self.words(sample, generators) if self.model.traits.roles else {}
        return self.model(sample.x1, sample.x2, *draw_mfm(sample.x1, self.model.patch_size, generators), **words)

    def words(self, sample, generators: Generators) -> dict[str, Tensor]:
        """The roles and tasks that the model is told."""
        damage, count = generators["damage"], sample.task.shape[0]
        told = torch.rand(count, generator=damage, device=damage.device) >= self.untold
        return {"roles": sample.roles * told, "task": sample.task * told}

    def trainable(self) -> Iterator[nn.Parameter]:
        """Parameters that the optimiser moves."""
        return (p for p in self.model.parameters() if p.requires_grad)

    @torch.no_grad()
    def pictures(self, batch, generators: Generators) -> dict[str, Tensor]:
        """The inputs and outputs of the model for a batch, each (B, 3, H, W) in [0, 1]."""
        sample = self.synthesize(batch, generators)
        out = self.decompose(sample, generators)
        shown = {"x1": sample.x1, "x2": sample.x2, "target": sample.target, "fused": out.fused,
                 "common": out.common, "unique1": out.unique1, "unique2": out.unique2, "recon": out.recon}
        return {name: value.float().clamp(0, 1) for name, value in shown.items() if value is not None}


class HeadTask(CUDTask):
    """Trains a full-resolution head alone on damaged photographs and optional real pairs; see ``CUDTask``."""

    generator_names = ("crop", "damage", "order")
    starts_from_data = False

    def decompose(self, sample, generators: Generators) -> Decomposition:
        """The head's training pass on a sample of pairs or stacks, with the roles of the pictures."""
        return self.model(*sample.pictures, **self.words(sample, generators), present=sample.present)


class MCUDTask(CUDTask):
    """Stage 2: a batch of photographs as in stage 1, and a batch of real pairs for the teachers (MCUD).

    One step minimises CUD + ``mcud_weight`` x MCUD. The teachers are held by a plain object, so that state dicts,
    optimisers and DDP do not include them.

    Args:
        model: a ``DeFusionPPMM``.
        synthesize, criterion: as in ``CUDTask``.
        teachers: (first, second), both normalised -> the tokens of the two teachers.
        augment: (pairs, generators) -> first and second images (B, 3, H, W) in [0, 1].
        multimodal_criterion: (ModalityPrediction, tokens of both teachers) -> terms with ``total_loss``.
        mcud_weight: weight of the MCUD loss.
    """

    starts_from_data = False

    def __init__(self, model: nn.Module, synthesize: Callable, criterion: nn.Module, *, teachers: Callable,
                 augment: Callable, multimodal_criterion: nn.Module, mcud_weight: float = 1 / 16) -> None:
        super().__init__(model, synthesize, criterion)
        self.teachers = teachers
        self.augment = augment
        self.multimodal_criterion = multimodal_criterion
        self.mcud_weight = mcud_weight

    def forward(self, batch, generators: Generators) -> dict[str, Tensor]:
        """Loss terms of a step as batch means: those of stage 1, the unweighted ones of MCUD, and their total.

        Args:
            batch: ``photos`` for ``synthesize`` and ``pairs`` for ``augment``.
        """
        terms = super().forward(batch.photos, generators)
        first, second = self.augment(batch.pairs, generators)
        seen = self.teachers(self.model.normalise(first), self.model.normalise(second))
        more = self.multimodal_criterion(self.model.predict(first, second), seen)
        total = terms.pop("total_loss") + self.mcud_weight * more.pop("total_loss")
        return terms | more | {"total_loss": total}

    @torch.no_grad()
    def pictures(self, batch, generators: Generators) -> dict[str, Tensor]:
        """The pictures of stage 1, and the decomposition of the real pairs."""
        shown = super().pictures(batch.photos, generators)
        first, second = self.augment(batch.pairs, generators)
        out = self.model.decompose(first, second)
        real = {"first": first, "second": second, "pair_fused": out.fused, "pair_common": out.common,
                "pair_unique1": out.unique1, "pair_unique2": out.unique2}
        return shown | {name: value.float().clamp(0, 1) for name, value in real.items()}


class MAETask(nn.Module):
    """Pretraining of a masked autoencoder on the pictures of one modality.

    Args:
        model: a ``MAE``.
        crop: (batch, generators) -> pictures (B, 3, H, W) in [0, 1].
        criterion: (MaskedPrediction, targets) -> terms with ``total_loss``.
    """

    generator_names = ("crop", "mfm")

    def __init__(self, model: nn.Module, crop: Callable, criterion: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.crop = crop
        self.criterion = criterion

    def forward(self, batch, generators: Generators) -> dict[str, Tensor]:
        """Loss terms of a batch of pictures."""
        x = self.crop(batch, generators)
        out = self.model(x, draw_noise(x, self.model.patch_size, generators))
        return self.criterion(out, self.model.targets(x))

    def trainable(self) -> Iterator[nn.Parameter]:
        """Parameters that the optimiser moves."""
        return self.model.parameters()

    @torch.no_grad()
    def pictures(self, batch, generators: Generators) -> dict[str, Tensor]:
        """Pictures, their visible patches and their reconstruction, each (B, 3, H, W) in [0, 1]."""
        x = self.crop(batch, generators)
        out = self.model(x, draw_noise(x, self.model.patch_size, generators))
        shown = {"target": x, "seen": self.model.masked_picture(x, out), "recon": self.model.picture(x, out)}
        return {name: value.float().clamp(0, 1) for name, value in shown.items()}


TRAINING = {"decomposition": CUDTask, "head": HeadTask, "pictures": MAETask}
