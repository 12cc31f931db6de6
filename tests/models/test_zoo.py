"""Models come by name, with or without weights, and weights say what they are."""

import pytest
import torch

from models import Fuser, create_model, list_models
from models.defusion import DeFusionPP
from models.weight_files import PRETRAINED, find_weights
from models.weights import load_weights, save_weights
from option.schema import Options
from utils.errors import MissingFileError, UserError

SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 2, "last_heads": 4, "decoder_heads": 4}


@pytest.fixture
def own(tmp_path):
    """Weights of a small network of one's own, which say so."""
    torch.manual_seed(1)
    save_weights(DeFusionPP(**SMALL), tmp_path / "own.safetensors", metadata={"model": "DeFusionPP", "network": SMALL})
    return tmp_path / "own.safetensors"


def test_names_are_those_of_the_weights_and_of_the_models():
    assert list_models(pretrained=True) == ["defusionpp_cud", "defusionpp_hr", "defusionpp_mixed"]
    assert {"defusionpp_hr", "DeFusionPP", "SaliencePyramid", "Average"} <= set(list_models())


def test_a_model_by_name_has_its_weights_if_they_are_asked_for():
    torch.manual_seed(0)
    fresh, trained = create_model("defusionpp_hr"), create_model("defusionpp_hr", pretrained=True)
    expected = create_model("defusionpp_hr")
    load_weights(expected, PRETRAINED / "defusionpp_hr.safetensors")
    for name, value in expected.state_dict().items():
        assert torch.equal(trained.state_dict()[name], value), name
    assert not torch.equal(fresh.log_gain, trained.log_gain)


def test_keywords_of_a_registered_model():
    assert create_model("DeFusionPP", **SMALL).encoder.embed_dim == 48
    with pytest.raises(UserError, match="embed_dimm: unknown key"):
        create_model("DeFusionPP", embed_dimm=48)


@pytest.mark.parametrize(("name", "pretrained", "message"), [
    ("defusionpp_h", False, "unknown model defusionpp_h .*did you mean defusionpp_hr"),
    ("DeFusionPP", True, "no weights are named DeFusionPP; give one of defusionpp_cud, defusionpp_hr, "
                          "defusionpp_mixed")])
def test_unknown_names(name, pretrained, message):
    with pytest.raises(UserError, match=message):
        create_model(name, pretrained=pretrained)


@pytest.mark.parametrize("given", [None, "defusionpp_hr", PRETRAINED / "defusionpp_hr.safetensors"])
def test_a_fuser_by_name_by_path_and_by_default_is_the_same(given):
    fuser = Fuser.from_pretrained(given, device="cpu")
    assert fuser.checksum == Fuser.from_pretrained("defusionpp_hr", device="cpu").checksum
    assert type(fuser.model) is type(create_model("defusionpp_hr"))


def test_a_file_goes_before_a_name_and_an_unknown_name_lists_the_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "defusionpp_hr").write_bytes(b"mine")
    assert find_weights("defusionpp_hr").read_bytes() == b"mine"
    with pytest.raises(MissingFileError, match=r"no such weight file.*a name: defusionpp_cud, defusionpp_hr, "
                       "defusionpp_mixed"):
        Fuser.from_pretrained("defusionpp")


def test_the_model_of_an_option_file_follows_its_weights(own):
    fuser = Fuser.from_options(Options(name="run", path={"resume_state": str(own)}, device="cpu"))
    assert fuser.name == "DeFusionPP" and fuser.model.encoder.embed_dim == 48
    fuser = Fuser.from_options(Options(name="run", path={"resume_state": "defusionpp_hr"}, device="cpu"))
    assert type(fuser.model) is type(create_model("defusionpp_hr"))


def test_a_model_that_the_option_file_names_is_taken(own):
    options = Options(name="run", model="SaliencePyramid", path={"resume_state": str(own)}, device="cpu")
    assert Fuser.from_options(options).name == "SaliencePyramid"


@pytest.mark.parametrize(("model", "weights", "holds"), [
    ("DeFusionPPHR", None, "DeFusionPP"), ("FusionModel", "defusionpp_hr", "FusionHead"),
    ("FusionHead", "defusionpp_cud", "DeFusionPP")])
def test_weights_of_another_model_say_what_to_give(own, model, weights, holds):
    weights = str(weights or own)
    message = rf"safetensors: lacks .*; it holds a {holds}: give --set model={holds}$"
    with pytest.raises(UserError, match=message):
        Fuser.from_options(Options(name="run", model=model, path={"resume_state": weights}, device="cpu"))
    with pytest.raises(UserError, match=message):
        Fuser.from_pretrained(weights, model=model, device="cpu")


@pytest.mark.parametrize("about", [{"network": "{embed"}, {"network": "[1]"}, {"model": "Nothing"}])
def test_broken_metadata_is_one_line(tmp_path, about):
    path = tmp_path / "odd.safetensors"
    save_weights(DeFusionPP(**SMALL), path, metadata=about)
    with pytest.raises(UserError, match=r"odd\.safetensors: (its metadata|unknown model Nothing)") as caught:
        Fuser.from_pretrained(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrapped", [True, False])
def test_an_encoder_alone_is_no_fusion_network(tmp_path, wrapped):
    """It would fuse with random decoders."""
    state = DeFusionPP().encoder.state_dict()
    torch.save({"model": state} if wrapped else state, tmp_path / "vit.pth")
    for build in (lambda: Fuser.from_pretrained(tmp_path / "vit.pth"),
                  lambda: Fuser.from_options(Options(name="run", path={"resume_state": str(tmp_path / "vit.pth")}))):
        with pytest.raises(UserError, match=r"vit\.pth: holds an encoder alone .*path\.pretrain_model_G"):
            build()
