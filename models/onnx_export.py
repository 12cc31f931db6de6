"""Writes models as ONNX files, which run without PyTorch (`models/onnx_backend.py`, docs/EXPORT.md).

Heights, widths and the number of pictures or windows stay free. Padding, windows, colour and the limit to [0, 1] are
left to the fuser, as for the models themselves.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from models.head import FusionHead, components_of
from models.protocol import ROLES, TASKS, Task
from models.running import COMPONENTS, SHARES
from models.windows import MULTIPLE
from utils.errors import UserError
from utils.files import atomic_write

if TYPE_CHECKING:
    from onnx import ModelProto

Precision = Literal["float32", "float16", "int8"]
LICENCE = "MIT"
_SMALL = 64  # weights of fewer numbers keep float32 in a file of half precision


class StackGraph(nn.Module):
    """The head for one scene of N pictures, with roles and task as inputs.

    Args:
        head: without maps.
        tasks: what the graph is for. The rules of the others are left out; those that stay are always computed.
    """

    inputs = ("pictures", "roles", "task")
    outputs = (*COMPONENTS, SHARES)

    def __init__(self, head: FusionHead, tasks: Sequence[Task] = TASKS) -> None:
        super().__init__()
        self.head, self.tasks = head, tuple(tasks)

    def forward(self, pictures: Tensor, roles: Tensor, task: Tensor) -> tuple[Tensor, ...]:
        """Fuse pictures (N, 3, H, W) in [0, 1].

        Args:
            pictures: N from 2 on.
            roles: (N,), indices of ``ROLES``.
            task: (1,), index of ``TASKS``.

        Returns:
            The fused picture (1, 3, H, W); common and unique parts of the first two pictures, which mean nothing if
            there are more; the overall weights (1, N, H, W).
        """
        head, stack = self.head, pictures.unsqueeze(1)
        told = head.tell(roles.unsqueeze(1), task)
        told.infrared = told.infrared if "IVF" in self.tasks else None
        told.focus = told.focus if "MFF" in self.tasks else None
        told.exposures = told.exposures if "MEF" in self.tasks else None
        fine = head.see(stack, told)
        coarse = head.settle(fine.handover(), told)
        out = head.mix(stack, fine, coarse, told, components=False, shares=True)
        return out.fused, *components_of(stack[0], stack[1], out.shares[:, :1]), out.shares

    @staticmethod
    def example() -> tuple[tuple[Tensor, ...], tuple[dict[int, Any], ...]]:
        """Inputs to trace with, and their free dimensions.

        Three pictures, as the code for two is a special case, and so large that the coarsest level of ``models.light``
        has more than one pixel: a side of one would be fixed in the graph.
        """
        pictures, roles, task = torch.rand(3, 3, 528, 784), torch.zeros(3, dtype=torch.long), torch.zeros(1).long()
        free = torch.export.Dim.DYNAMIC
        return (pictures, roles, task), ({0: free, 2: free, 3: free}, {0: free}, {})


class PairGraph(nn.Module):
    """A model for windows of a pair, whose sides are multiples of 16.

    Args:
        model: with ``traits.large`` "windows".
    """

    inputs = ("x1", "x2")
    tasks = TASKS

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.outputs = COMPONENTS if model.traits.has_components else COMPONENTS[:1]

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, ...]:
        """Fuse B windows (B, 3, h, w) in [0, 1]; returns ``outputs``, each of the same shape."""
        out = self.model.decompose(x1, x2)
        return tuple(getattr(out, name) for name in self.outputs)

    @staticmethod
    def example() -> tuple[tuple[Tensor, ...], tuple[dict[int, Any], ...]]:
        """Inputs to trace with, and their free dimensions."""
        height, width = (MULTIPLE * torch.export.Dim(name, min=2, max=4096) for name in ("rows", "columns"))
        free = {0: torch.export.Dim.DYNAMIC, 2: height, 3: width}
        return (torch.rand(2, 3, 64, 96), torch.rand(2, 3, 64, 96)), (free, free)


def write_onnx(model: nn.Module, path: Path, about: dict[str, str], precision: Precision = "float32",
               tasks: Sequence[Task] = TASKS) -> None:
    """Export a model.

    Args:
        model: a ``FusionHead`` without maps, or a model for windows such as ``DeFusionPP``.
        path: the file; written atomically.
        about: its origin, added to the metadata.
        precision: of the weights. "float16" halves the file and computes in float32; "int8" also computes products
            and convolutions with 8-bit weights and inputs.
        tasks: what the file is for, see :class:`StackGraph`; has no effect on other models.

    Raises:
        UserError: a model that cannot be exported.
        ModuleNotFoundError: onnx or onnxscript is not installed.
    """
    import onnx

    graph = _graph_of(model, tasks)
    example, free = graph.example()
    with torch.no_grad(), _quick_tracing(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.onnx")  # on names of sizes
        program = torch.onnx.export(graph.eval(), example, dynamo=True, input_names=graph.inputs,
                                    output_names=graph.outputs, dynamic_shapes=free, verbose=False)
    proto = program.model_proto
    if precision == "float16":
        proto = halved(proto)
    elif precision == "int8":
        proto = quantised(proto)
    onnx.helper.set_model_props(proto, _metadata(model, graph) | about | {"precision": precision})
    with atomic_write(path) as temporary:
        onnx.save(proto, temporary)


def _quick_tracing() -> AbstractContextManager[object]:
    """Skip proofs about sizes that have a safe answer without: with them tracing takes minutes."""
    settings = torch.fx.experimental._config
    if not hasattr(settings, "aggressive_guard_free_semantics"):  # PyTorch before 2.10
        return contextlib.nullcontext()
    return settings.patch(aggressive_guard_free_semantics=2)


def _graph_of(model: nn.Module, tasks: Sequence[Task]) -> StackGraph | PairGraph:
    if isinstance(model, FusionHead) and not model.map_channels:
        return StackGraph(model, tasks)
    if model.traits.large == "windows" and not model.traits.roles:
        return PairGraph(model)
    raise UserError(f"{type(model).__name__} cannot be exported to ONNX; give weights of a FusionHead or DeFusionPP")


def _metadata(model: nn.Module, graph: StackGraph | PairGraph) -> dict[str, str]:
    """What the file says of the model; docs/EXPORT.md explains it."""
    traits = model.traits
    kept = ("large", "many", "roles", "has_components", "has_weights")
    return {"model": type(model).__name__, "traits": json.dumps({name: getattr(traits, name) for name in kept}),
            "roles": json.dumps(ROLES), "tasks": json.dumps(TASKS), "for": json.dumps(graph.tasks),
            "grids": str(getattr(model, "grids", 1)), "divisor": str(MULTIPLE), "range": "0 to 1, RGB",
            "licence": LICENCE}


def halved(proto: ModelProto) -> ModelProto:
    """Store the larger weights in float16; each is converted back once, when the file is loaded."""
    from onnx import TensorProto, helper, numpy_helper

    graph, casts = proto.graph, []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type == TensorProto.FLOAT and values.size >= _SMALL:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype("float16"), name + "_half"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return proto


def quantised(proto: ModelProto) -> ModelProto:
    """Compute matrix products and convolutions in int8, with inputs scaled anew for each picture."""
    import tempfile

    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory(prefix="defusionpp-") as folder:
        before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
        onnx.save(proto, before)
        quantize_dynamic(before, after, per_channel=True, weight_type=QuantType.QInt8)
        return onnx.load(after)
