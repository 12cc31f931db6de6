"""Every layout of weights loads, what is missing or unknown is named, and nothing in a file is executed."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models import Fuser
from models.defusion import DeFusionPP
from models.head import FusionHead
from models.highres import DeFusionPPHR
from models.layers import sincos_position_table
from models.published import from_published_name, to_published, to_published_name
from models.weight_files import read_metadata
from models.weights import load_weights, save_weights
from tests.models.reference import GOLDEN
from utils.errors import MissingFileError, UserError

SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 2, "last_heads": 4, "decoder_heads": 4}


def network(seed: int = 0) -> DeFusionPP:
    torch.manual_seed(seed)
    return DeFusionPP(**SMALL).eval()


def same(a: torch.nn.Module, b: torch.nn.Module, skip: tuple[str, ...] = ()) -> bool:
    other = b.state_dict()
    return all(torch.equal(value, other[name]) for name, value in a.state_dict().items() if not name.startswith(skip))


@pytest.fixture
def published(tmp_path):
    """A full training checkpoint in the published layout."""
    path = tmp_path / "published.pth"
    torch.save({"state_dict": to_published(network(1).state_dict()), "optimizers": [], "schedulers": [], "epoch": 7},
               path)
    return path


@pytest.mark.parametrize("stage", ["published_names", "published_names_stage2"])
def test_names_map_both_ways(stage):
    with np.load(GOLDEN) as golden:
        names = [str(name) for name in golden[stage]]
    assert [to_published_name(from_published_name(name)) for name in names] == names


def test_full_names_are_the_published_ones():
    with np.load(GOLDEN) as golden:
        assert sorted(to_published(DeFusionPP().state_dict())) == sorted(map(str, golden["published_names"]))


def test_published_training_checkpoint(published):
    model = network()
    report = load_weights(model, published)
    assert same(model, network(1)) and report.layout == "published" and not report.missing and not report.unknown


def test_published_inference_checkpoint_lacks_the_mfm_decoder(published, tmp_path):
    state = torch.load(published, weights_only=True)["state_dict"]
    state = {name: value for name, value in state.items() if not name.startswith(("mim_", "mask_token", "decoder_pos"))}
    torch.save({"state_dict": state}, tmp_path / "inference.pth")
    model = network()
    report = load_weights(model, tmp_path / "inference.pth")
    assert same(model, network(1), skip=("mask_token", "mfm_"))
    assert {name.split(".")[0] for name in report.missing} == {"mask_token", "mfm_blocks", "mfm_norm", "mfm_head"}


def test_ours_round_trip_in_half_precision(tmp_path):
    path = tmp_path / "ours.safetensors"
    save_weights(network(1), path, metadata={"model": "DeFusionPP", "network": SMALL, "images_seen": 12})
    model = network()
    load_weights(model, path)
    assert same(model, network(1).half().float(), skip=("mask_token", "mfm_"))
    assert read_metadata(path)["images_seen"] == "12"
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model.decompose(x, x).fused, network(1).decompose(x, x).fused, atol=0.02)


@pytest.mark.parametrize("wrapped", [True, False])
def test_plain_vit_sets_the_encoder_alone(tmp_path, wrapped):
    vit = {name.removeprefix("encoder."): value for name, value in network(1).encoder.state_dict().items()}
    vit |= {"head.weight": torch.zeros(10, 48), "head.bias": torch.zeros(10), "pos_embed": torch.zeros(1, 197, 48)}
    torch.save({"model": vit} if wrapped else vit, tmp_path / "vit.pth")
    model = network()
    report = load_weights(model, tmp_path / "vit.pth", start=True)
    assert report.layout == "encoder"
    assert same(model.encoder, network(1).encoder)
    assert torch.equal(model.fuse_head.weight, network().fuse_head.weight)


def test_missing_inference_weights_are_an_error_by_name(published, tmp_path):
    state = torch.load(published, weights_only=True)["state_dict"]
    del state["decoder_fuse_blocks.2.weight"]
    torch.save({"state_dict": state}, tmp_path / "hole.pth")
    with pytest.raises(UserError, match=r"lacks 1 weights that the network needs: fuse_head\.weight"):
        load_weights(network(), tmp_path / "hole.pth")


def test_a_training_may_start_without_what_the_model_adds(published):
    model = DeFusionPPHR(**SMALL)
    with pytest.raises(UserError, match="unique_map"):
        load_weights(model, published)
    report = load_weights(model, published, start=True)
    assert same(network(1), model.network) and all(name.startswith(model.traits.added) for name in report.missing)


def test_a_head_with_a_transformer_takes_files_from_before_it_had_parts(tmp_path):
    """Once the transformer's and the head's weights had no prefix, and there were no embeddings of roles and tasks."""
    torch.manual_seed(1)
    model = DeFusionPPHR(**SMALL)
    with torch.no_grad():
        model.head.log_gain.normal_()
    old = {name.removeprefix("network.").removeprefix("head."): value for name, value in model.state_dict().items()
           if not name.startswith(model.traits.optional)}
    torch.save(old, tmp_path / "old.pth")
    again = DeFusionPPHR(**SMALL)
    load_weights(again, tmp_path / "old.pth")
    assert same(again, model)


def test_unknown_weights_are_an_error_unless_not_strict(published, tmp_path):
    state = torch.load(published, weights_only=True)["state_dict"] | {"surprise.weight": torch.zeros(1)}
    torch.save(state, tmp_path / "more.pth")
    with pytest.raises(UserError, match=r"does not know: surprise\.weight; set path\.strict_load=false"):
        load_weights(network(), tmp_path / "more.pth")
    assert load_weights(network(), tmp_path / "more.pth", strict=False).unknown == ["surprise.weight"]


def test_another_size_names_both_shapes(published):
    with pytest.raises(UserError, match=r"\(1, 1, 48\), the network needs \(1, 1, 96\)"):
        load_weights(DeFusionPP(**SMALL | {"embed_dim": 96}), published)


def test_a_failed_load_changes_nothing(published, tmp_path):
    state = torch.load(published, weights_only=True)["state_dict"]
    del state["decoder_fuse_blocks.2.weight"]
    torch.save(state, tmp_path / "hole.pth")
    model = network()
    with pytest.raises(UserError):
        load_weights(model, tmp_path / "hole.pth")
    assert same(model, network())


class Trap:
    def __reduce__(self):
        return (print, ("executed",))


def test_code_in_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"state_dict": Trap()}))
    torch.save({"state_dict": {"a": torch.zeros(1)}, "args": Trap()}, tmp_path / "evil2.pth")
    for name in ("evil.pth", "evil2.pth"):
        with pytest.raises(UserError, match=r"refused|not a readable"):
            load_weights(network(), tmp_path / name)
    assert "executed" not in capsys.readouterr().out


def test_cut_short_empty_and_missing_files(published, tmp_path):
    (tmp_path / "short.pth").write_bytes(published.read_bytes()[:5000])
    save_file({"a": torch.zeros(100)}, tmp_path / "a.safetensors")
    (tmp_path / "short.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:100])
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    for name in ("short.pth", "short.safetensors", "empty.pth", "empty.safetensors"):
        for use in (lambda path: load_weights(network(), path), Fuser.from_pretrained):
            with pytest.raises(UserError, match=f"{name}: not a readable weight file") as caught:
                use(tmp_path / name)
            assert "\n" not in str(caught.value)
    with pytest.raises(MissingFileError, match="no such weight file"):
        load_weights(network(), tmp_path / "nowhere.pth")


@pytest.mark.parametrize("state", [[torch.zeros(1)], {"state_dict": [torch.zeros(1)]}, {"model": {"a": 1}}, None, {},
                                   torch.zeros(3)])
def test_files_without_a_state_dict(tmp_path, state):
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(UserError, match=r"odd\.pth: holds no weights"):
        load_weights(network(), tmp_path / "odd.pth")


def test_a_file_of_which_nothing_fits_is_refused(tmp_path):
    """Also where a training starts, unknown names are let pass and the network asks for no encoder."""
    torch.save({"blocks.0.norm1.weight": torch.zeros(48)}, tmp_path / "vit.pth")
    with pytest.raises(UserError, match=r"vit\.pth: none of its 1 weights belongs to"):
        load_weights(FusionHead(), tmp_path / "vit.pth", strict=False, start=True)


@pytest.mark.parametrize(("table", "told"), [
    (torch.zeros(1, 197, 48), True), (torch.zeros(197, 48), True), (torch.zeros(1, 198, 48), True),
    (sincos_position_table(48, (14, 14)), False), (sincos_position_table(48, (16, 16)), False)])
def test_a_learned_position_table_is_left_out_with_a_word(tmp_path, caplog, table, told):
    """The network's positions come by formula: MAE's fixed table says the same and needs none."""
    state = network(1).encoder.state_dict() | {"pos_embed": table}
    torch.save(state, tmp_path / "vit.pth")
    load_weights(network(), tmp_path / "vit.pth", start=True)
    assert ("vit.pth: its position table" in caplog.text) == told


def test_a_training_may_not_start_with_a_part_of_what_the_model_adds(tmp_path):
    state = DeFusionPPHR(**SMALL).state_dict()
    del state["head.log_gain"]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(UserError, match=r"lacks 1 weights that the network needs: head\.log_gain"):
        load_weights(DeFusionPPHR(**SMALL), tmp_path / "part.safetensors", start=True)
