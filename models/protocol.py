"""The interface of fusion models, as used by the fuser, the training scripts and the exporter.

A model is an ``nn.Module`` with a method ``decompose`` and with ``traits``, a :class:`Traits` that describes its use:

    @MODELS.register("Mine")
    class Mine(nn.Module):
        traits = Traits(large="whole", needs_weights=False)

        def decompose(self, x1: Tensor, x2: Tensor) -> Decomposition: ...
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, get_args

from models.decomposition import Decomposition
from utils.pictures.picture import Role

if TYPE_CHECKING:
    from torch import Tensor

Task = Literal["none", "IVF", "MEF", "MFF"]
ROLES: tuple[Role, ...] = get_args(Role)
TASKS: tuple[Task, ...] = get_args(Task)
NETWORK = "network."  # prefix of the published network's weights in a model that contains it


@dataclass(frozen=True, kw_only=True)
class Traits:
    """How a model is used.

    Attributes:
        large: treatment of large pictures. "whole": ``decompose`` accepts any size from 16 x 16. "padded": likewise,
            after padding with a margin of reflected pixels, which keeps border effects out of the result. "windows":
            ``decompose`` needs sides that are multiples of 16; the results of windows are blended. "maps": ``context``
            runs on windows, and ``fuse`` takes the whole pictures, the blended maps and the keywords of ``decompose``.
        many: ``decompose`` accepts more than two pictures. Otherwise they are fused two at a time.
        roles: ``decompose`` accepts the keywords ``roles`` and ``task``, and ``components=False`` to compute only the
            fused picture.
        has_components: it also returns common and unique parts of a pair.
        has_weights: ``decompose`` accepts ``shares=True`` to return the overall weight of each picture at each pixel
            as ``shares``, (B, N, H, W); only with ``many``.
        needs_weights: it fuses only with trained weights.
        training: its training data. "decomposition": damaged photographs with masked features; "head": damaged
            photographs; "pictures": single pictures, masked; None: it cannot be trained.
        loss: name of its default loss.
        gives: type returned by ``forward``, which the loss must accept.
        predicts_teachers: it can be trained in stage 2.
        section: section of the option file with its keywords.
        unused: prefixes of weights on which no output depends; they are not trained.
        added: prefixes of weights that the published network lacks. They may all be missing at the start of training.
        optional: prefixes of weights that older files lack; they keep their initial values.
    """

    large: Literal["whole", "padded", "windows", "maps"] = "windows"
    many: bool = False
    roles: bool = False
    has_components: bool = False
    has_weights: bool = False
    needs_weights: bool = True
    training: Literal["decomposition", "head", "pictures"] | None = None
    loss: str | None = None
    gives: type = Decomposition
    predicts_teachers: bool = False
    section: str = "network_G"
    unused: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


class Model(Protocol):
    """The interface of a fusion model, in addition to ``nn.Module``."""

    traits: ClassVar[Traits]

    def decompose(self, x1: Tensor, x2: Tensor, /) -> Decomposition:
        """Fuse a pair; with ``traits.many``, also more pictures; with ``traits.roles``, also ``roles`` and ``task``.

        Args:
            x1, x2: (B, 3, H, W) in [0, 1].
        """
        ...


class Truth(Protocol):
    """The wanted decomposition of a synthetic pair from `data/synthesis.py`; each (B, 3, H, W) in [0, 1].

    Attributes:
        common, unique1, unique2: the parts.
        target: the undamaged photograph.
    """

    common: Tensor
    unique1: Tensor
    unique2: Tensor
    target: Tensor


class Loss(Protocol):
    """The interface of a training loss, in addition to ``nn.Module``.

    Attributes:
        takes: type of the model's output that it accepts.
    """

    takes: ClassVar[type]

    def __call__(self, out: Any, sample: Any) -> dict[str, Tensor]:
        """Weighted terms by name, as batch means, and their sum as ``total_loss``.

        Args:
            out: output of the model.
            sample: the target: a ``Sample`` (:class:`Truth`), tokens of teachers, or pixels.
        """
        ...
