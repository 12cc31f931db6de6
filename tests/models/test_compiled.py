"""What torch.compile makes of the published network: one graph for both orders, and nothing computed twice."""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

import models.layers
from models.defusion import DeFusionPP


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    """On a CPU dropout draws into a tensor's memory, which no graph can hold; elsewhere it is the library's."""
    monkeypatch.setattr(models.layers, "dropout", lambda x, rate, training: x)
    torch.compiler.reset()


def tiny() -> DeFusionPP:
    torch.manual_seed(0)
    return DeFusionPP(embed_dim=48, depth=2, num_heads=2, last_heads=4, decoder_heads=4, drop_path=0.0).train()


def test_both_orders_share_a_graph_that_computes_no_positions():
    plain, network = tiny(), tiny()  # two, since a network that has run knows its positions
    x1, x2, noise = torch.rand(2, 3, 64, 48), torch.rand(2, 3, 64, 48), torch.rand(2, 12)
    counter = CompileCounterWithBackend("eager")
    network.compile(backend=counter, fullgraph=True)
    for swapped in (False, True):
        got, want = network(x1, x2, noise, swapped), plain(x1, x2, noise, swapped)
        for name in ("common", "unique1", "unique2", "fused", "recon"):
            torch.testing.assert_close(getattr(got, name), getattr(want, name))
    assert counter.frame_count == 1
    operations = {str(node.target) for graph in counter.graphs for node in graph.graph.nodes}
    assert not {name for name in operations if "sin" in name or "arange" in name}, operations


def test_no_two_outputs_of_the_training_pass_share_memory():
    """PyTorch 2.11 loads a compiled network with such outputs from its cache with sizes at random, and then stops."""
    outputs = tiny().training_pass(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64), torch.rand(2, 16))
    assert len({value.untyped_storage().data_ptr() for value in outputs}) == len(outputs) == 4
    assert all(value._base is None for value in outputs)


def test_compiling_changes_no_names():
    network = tiny()
    before = list(network.state_dict())
    network.compile(backend="eager")
    assert list(network.state_dict()) == before
