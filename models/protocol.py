"""What a fusion model is: the one list of what the fuser, the training scripts and the exporter ask of it.

A model is an ``nn.Module`` with a ``decompose`` and with ``traits``, a :class:`Traits` that says how to use it:

    @MODELS.register("Mine")
    class Mine(nn.Module):
        traits = Traits(large="whole", needs_weights=False)

        def decompose(self, x1: Tensor, x2: Tensor) -> Decomposition: ...
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, get_args

from torch import Tensor

from models.decomposition import Decomposition
from utils.pictures.picture import Role

Task = Literal["none", "IVF", "MEF", "MFF"]
ROLES: tuple[Role, ...] = get_args(Role)
TASKS: tuple[Task, ...] = get_args(Task)
NETWORK = "network."  # prefix of the published network's weights in a model that has one as a part


@dataclass(frozen=True, kw_only=True)
class Traits:
    """How a model is used.

    Attributes:
        large: how it takes a picture larger than its windows. "whole": ``decompose`` takes any size from 16 x 16.
            "padded": likewise, and pictures get a margin of reflected pixels, which takes the border out of the result.
            "windows": ``decompose`` takes sides that are multiples of 16; the results of windows are blended.
            "maps": its ``context`` takes windows; ``fuse`` takes the whole picture and the blended maps.
        many: ``decompose`` takes two pictures or more. Otherwise more than two are fused two by two.
        roles: ``decompose`` takes the keywords ``roles`` and ``task``, and ``components=False`` where only the fused
            picture is wanted.
        has_components: it gives common and unique parts of a pair, not the fused picture alone.
        needs_weights: it fuses only with trained weights.
        training: what it learns from. "decomposition": damaged photographs with masked features; "head": damaged
            photographs; "pictures": single pictures, masked; None: it has nothing to learn.
        loss: name of its own loss.
        gives: type of what ``forward`` returns, which a loss must take.
        predicts_teachers: it can be trained in stage 2.
        section: section of the option file that holds its keywords.
        unused: prefixes of weights that no output depends on; they are not trained.
        added: prefixes of weights that the published network lacks. A training run may start without all of them.
        optional: prefixes of weights that older files lack; they keep their initial values.
    """

    large: Literal["whole", "padded", "windows", "maps"] = "windows"
    many: bool = False
    roles: bool = False
    has_components: bool = False
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
    """A fusion model, besides being an ``nn.Module``."""

    traits: ClassVar[Traits]

    def decompose(self, x1: Tensor, x2: Tensor, /) -> Decomposition:
        """Fuse a pair; with ``traits.many`` also more pictures, with ``traits.roles`` also ``roles`` and ``task``.

        Args:
            x1, x2: (B, 3, H, W) in [0, 1].
        """
        ...


class Truth(Protocol):
    """What a synthetic pair should decompose into, as `data/synthesis.py` makes it; each (B, 3, H, W) in [0, 1].

    Attributes:
        common, unique1, unique2: the parts.
        target: the undamaged photograph.
    """

    common: Tensor
    unique1: Tensor
    unique2: Tensor
    target: Tensor


class Loss(Protocol):
    """A training loss, besides being an ``nn.Module``.

    Attributes:
        takes: type of the model's output that it can score.
    """

    takes: ClassVar[type]

    def __call__(self, out: Any, sample: Any) -> dict[str, Tensor]:
        """Weighted terms by name, batch means, and their sum as ``total_loss``.

        Args:
            out: what the model made of the sample.
            sample: what it should have made: a ``Sample`` (:class:`Truth`), tokens of teachers, or pixels.
        """
        ...
