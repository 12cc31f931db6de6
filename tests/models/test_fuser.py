"""The fuser keeps size, depth and colour of any input, gives the same for files and arrays, and says what is wrong."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from models import Fuser, create_model
from models.baselines import Average
from models.defusion import DeFusionPP
from option.schema import TileOptions
from tests.rig import rig_pair
from utils.errors import MissingFileError, UserError
from utils.pictures.writing import write_picture


@pytest.fixture(scope="module")
def network() -> DeFusionPP:
    torch.manual_seed(0)
    return DeFusionPP(embed_dim=48, depth=2, num_heads=2, last_heads=4, decoder_heads=4)


@pytest.fixture(scope="module")
def fuse(network) -> Fuser:
    return Fuser(network, device="cpu", amp="off", tile=TileOptions(size=96, overlap=32, batch=4))


def picture(*shape: int, dtype=np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (150, 131)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_size_and_depth_are_kept(fuse, size, dtype):
    result = fuse(picture(*size, 1, dtype=dtype), picture(*size, 3, dtype=dtype, seed=1))
    assert result.fused.shape == (*size, 3) and result.fused.dtype == dtype
    assert result.common.shape == (*size, 1)


def chroma(x: np.ndarray) -> np.ndarray:
    """Cb and Cr (H, W, 2) by OpenCV, of RGB float in [0, 1]."""
    return cv2.cvtColor(x.astype(np.float32), cv2.COLOR_RGB2YCrCb)[..., :0:-1]


@pytest.fixture(scope="module")
def mild() -> list[np.ndarray]:
    """Two pictures of mild colours, so that no mix of luma and chroma has to be clipped."""
    random = np.random.default_rng(0)
    return [random.uniform(0.45, 0.55, (40, 50, 3)).astype(np.float32) for _ in range(2)]


@pytest.mark.parametrize(("order", "task"), [("grey first", None), ("grey last", None), ("colours", "ivf")])
def test_colour_of_the_visible_picture_is_kept(mild, order, task):
    """Luma is the mean of both; Cb and Cr stay the visible picture's: the one with colour, and of two the second."""
    visible, infrared = mild[1], mild[0] if order == "colours" else mild[0][..., 0]
    pair = (visible, infrared) if order == "grey last" else (infrared, visible)
    fused = Fuser(Average(), device="cpu", color="ycbcr")(*pair, task=task).fused
    np.testing.assert_allclose(chroma(fused), chroma(visible), atol=2e-3)  # OpenCV's factors are rounded
    luma = [cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) if x.ndim == 3 else x for x in (infrared, visible, fused)]
    np.testing.assert_allclose(luma[2], (luma[0] + luma[1]) / 2, atol=1e-5)


@pytest.mark.parametrize("task", ["MEF", "MFF", None])
def test_chroma_of_two_exposures_is_weighted_by_its_distance_from_grey(mild, task):
    """The field's formula, here on OpenCV's chroma; neither picture's chroma alone."""
    near, far = (chroma(x) - 0.5 for x in mild)
    expected = (near * np.abs(near) + far * np.abs(far)) / (np.abs(near) + np.abs(far))
    fuse = Fuser(Average(), device="cpu", color="ycbcr")
    np.testing.assert_allclose(chroma(fuse(*mild, task=task).fused) - 0.5, expected, atol=2e-3)
    np.testing.assert_allclose(fuse(*mild, task=task).fused, fuse(*mild[::-1], task=task).fused, atol=1e-6)


@pytest.mark.parametrize(("channels", "task", "color", "rule"), [
    ((1, 1), None, None, "grey"), ((1, 3), None, None, "luma"), ((3, 3), "mef", None, "channels"),
    ((3, 3), None, None, "channels"), ((3, 3), "IVF", "Gray", "grey"), ((1, 1), "MFF", "rgb", "channels"),
    ((3, 1), "IVF", None, "luma"), ((3, 3), "ivf", None, "luma")])
def test_colour_modes(channels, task, color, rule):
    """The mean of both pictures: of their luma alone, of their luma with the colour of one, or of each channel."""
    first, second = (picture(32, 32, c, seed=i).astype(np.float32) / 255 for i, c in enumerate(channels))
    fused = Fuser(Average(), device="cpu")(first, second, task=task, color=color).fused
    luma = [cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[..., None] if x.shape[2] == 3 else x for x in (first, second)]
    if rule == "grey":
        np.testing.assert_allclose(fused, (luma[0] + luma[1]) / 2, atol=1e-5)
    elif rule == "channels":
        np.testing.assert_allclose(fused, np.broadcast_to((first + second) / 2, (32, 32, 3)), atol=1e-6)
    else:
        visible, grey = (second, sum(luma) / 2) if second.shape[2] == 3 else (first, sum(luma) / 2)
        difference = visible - (luma[1] if visible is second else luma[0])  # R - Y, G - Y, B - Y are the chroma
        np.testing.assert_allclose(fused, (grey + difference).clip(0, 1), atol=1e-5)


@pytest.mark.parametrize("color", ["gray", "ycbcr"])
def test_grey_is_the_luma_of_what_the_network_draws(color):
    """A network draws three channels, which differ; weights are those of BT.601."""
    class Tinted(Average):
        def decompose(self, *pictures):
            out = super().decompose(*pictures)
            return replace(out, fused=out.fused * torch.tensor([0.2, 1.0, 0.6]).view(-1, 1, 1))

    grey = np.full((20, 20, 1), 0.5, np.float32)
    fused = Fuser(Tinted(), device="cpu", color=color)(grey, grey).fused
    np.testing.assert_allclose(fused, 0.5 * (0.299 * 0.2 + 0.587 * 1.0 + 0.114 * 0.6), atol=1e-6)


@pytest.mark.parametrize("task", [None, "IVF", "MEF"])
def test_three_equal_channels_are_grey(task):
    """An infrared picture stored as RGB fuses like the grey one; a pair of such keeps its three channels."""
    grey, visible = picture(40, 50, seed=1), picture(40, 50, 3, seed=2)
    fuse = Fuser(Average(), device="cpu")
    assert np.array_equal(fuse(np.dstack([grey] * 3), visible, task=task).fused, fuse(grey, visible, task=task).fused)
    stored = torch.from_numpy(grey / 255).float()
    tensors = [fuse(x, torch.from_numpy(visible / 255).permute(2, 0, 1), task=task).fused
               for x in (stored, stored.expand(3, -1, -1))]
    assert torch.equal(*tensors)
    both = fuse(np.dstack([grey] * 3), np.dstack([grey] * 3), task=task).fused
    assert np.array_equal(both, np.dstack([grey] * 3))


@pytest.mark.parametrize(("words", "message"), [
    ({"task": "VIF"}, "task 'VIF' is unknown; known: IVF, MEF, MFF"),
    ({"color": "blue"}, "color 'blue' is unknown; known: ycbcr, rgb, gray")])
def test_unknown_words_are_errors(fuse, words, message):
    with pytest.raises(UserError, match=message):
        fuse(picture(32, 32), picture(32, 32), **words)


def test_an_unknown_colour_of_the_fuser_itself_is_an_error():
    with pytest.raises(UserError, match="color 'grey' is unknown"):
        Fuser(Average(), device="cpu", color="grey")


def converted(x: np.ndarray, mode: str) -> Image.Image:
    return Image.fromarray(x).convert(mode)


@pytest.mark.parametrize(("given", "same"), [
    (lambda x: x.astype(">u2") * 257, lambda x: x.astype(np.uint16) * 257),
    (lambda x: (x / 255).astype(">f4"), lambda x: (x / 255).astype(np.float32)),
    (lambda x: (x / 255).astype(np.float16), lambda x: (x / 255).astype(np.float16).astype(np.float32)),
    (lambda x: x / 255, lambda x: (x / 255).astype(np.float32)),
    (lambda x: x[:, ::-1][:, ::-1], lambda x: x),
    (Image.fromarray, lambda x: x),
    (lambda x: converted(x, "RGB"), lambda x: x),
    (lambda x: converted(x, "RGBA"), lambda x: x),
    (lambda x: converted(x, "LA"), lambda x: x),
    (lambda x: converted(x, "P"), lambda x: x),
    (lambda x: converted(x, "1"), lambda x: np.asarray(converted(x, "1")).astype(np.uint8) * 255),
    (lambda x: Image.fromarray(x.astype(np.uint16) * 257), lambda x: x.astype(np.uint16) * 257),
    (lambda x: Image.fromarray(x.astype(np.int32) * 257), lambda x: x.astype(np.uint16) * 257),
    (lambda x: Image.fromarray((x / 255).astype(np.float32)), lambda x: (x / 255).astype(np.float32)),
], ids=["u2 big", "f4 big", "f2", "f8", "strides", "L", "RGB", "RGBA", "LA", "P", "1", "I;16", "I", "F"])
def test_other_kinds_of_pictures_are_converted(given, same):
    grey, other = picture(32, 40, seed=1), picture(32, 40, 3, seed=2)
    fuse = Fuser(Average(), device="cpu")
    result, expected = fuse(given(grey), other).fused, fuse(same(grey), other).fused
    assert result.dtype == expected.dtype and np.array_equal(result, expected)


def test_the_turn_of_a_pil_picture_is_applied(tmp_path):
    """As it is to the same file by its path."""
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: a quarter turn
    Image.fromarray(picture(32, 40, 3)).save(tmp_path / "turned.jpg", exif=exif)
    fuse = Fuser(Average(), device="cpu")
    by_path = fuse(tmp_path / "turned.jpg", tmp_path / "turned.jpg").fused
    with Image.open(tmp_path / "turned.jpg") as image:
        assert by_path.shape == (40, 32, 3) and np.array_equal(fuse(image, image).fused, by_path)


def spoilt(value: float) -> np.ndarray:
    x = np.full((32, 32), 0.5, np.float32)
    x[5, 5] = value
    return x


@pytest.mark.parametrize(("wrong", "message"), [
    (picture(32, 32).astype(np.float32), r"the second picture holds floats from 0 to 255; scale them to \[0, 1\]"),
    (torch.from_numpy(picture(32, 32)).double(), "floats from 0 to 255"),
    (spoilt(-3), "floats from -3 to 0.5"), (spoilt(np.nan), "not finite"), (spoilt(np.inf), "not finite"),
    (torch.from_numpy(spoilt(np.nan)), "not finite"),
    (picture(32, 32).astype(np.int64), "values of type int64; give float in .* uint8 or uint16"),
    (torch.zeros(3, 32, 32, dtype=torch.uint8), r"torch\.uint8; give float in"),
    (np.zeros((32, 32), bool), "type bool"), (np.zeros((32, 32, 4), np.uint8), r"\(32, 32, 4\); give one picture"),
    (np.zeros((0, 0, 3), np.float32), "0 x 0"), (torch.zeros(1, 3, 32, 32), r"\(1, 3, 32, 32\)"),
    (Image.fromarray(np.full((32, 32), 70000, np.int32)), "type int32"), ([[0.5]], "is of type list; give a path"),
    (None, "is of type NoneType"),
])
def test_what_is_no_picture_is_refused_in_one_line(wrong, message):
    with pytest.raises(UserError, match=message) as caught:
        Fuser(Average(), device="cpu")(np.full((32, 32), 0.5, np.float32), wrong)
    assert "\n" not in str(caught.value)


def test_what_resampling_takes_out_of_range_is_clipped():
    fused = Fuser(Average(), device="cpu")(spoilt(1.05), spoilt(-0.05)).fused
    assert fused[5, 5] == 0.5 and np.array_equal(fused, np.full((32, 32, 1), 0.5))


def test_files_arrays_and_tensors_agree(fuse, tmp_path):
    first, second = picture(40, 50, 1), picture(40, 50, 3, seed=1)
    write_picture(tmp_path / "a.png", first)
    write_picture(tmp_path / "b.png", second)
    from_arrays = fuse(first, second).fused
    assert np.array_equal(from_arrays, fuse(tmp_path / "a.png", str(tmp_path / "b.png")).fused)
    tensors = [torch.from_numpy(x).permute(2, 0, 1).float() / 255 for x in (first, second)]
    from_tensors = fuse(*tensors).fused
    assert isinstance(from_tensors, torch.Tensor) and from_tensors.shape == (3, 40, 50)
    assert np.abs(from_tensors.permute(1, 2, 0).numpy() * 255 - from_arrays).max() <= 0.51


def test_16_bits_are_not_reduced_to_8(fuse):
    result = fuse(picture(64, 64, 1, dtype=np.uint16), picture(64, 64, 1, dtype=np.uint16, seed=1))
    assert len(np.unique(result.fused)) > 256


def test_half_precision_keeps_the_levels_of_16_bits(network):
    """The pixel heads run in float32: bf16 has 128 values between 0.5 and 1, a 16-bit picture 32,768."""
    levels = [len(np.unique(Fuser(network, device="cpu", amp=amp)(
        picture(48, 48, dtype=np.uint16), picture(48, 48, dtype=np.uint16, seed=1)).fused)) for amp in ("off", "bf16")]
    assert levels[1] > 0.9 * levels[0] > 256


def test_an_autoencoder_is_no_fusion_model():
    with pytest.raises(UserError, match="MAE learns from single pictures and fuses nothing"):
        Fuser(create_model("MAE", size="tiny", depth=1, decoder_depth=1, decoder_width=32), device="cpu")


def test_components_can_be_left_out(fuse):
    result = fuse(picture(32, 32, 1), picture(32, 32, 1, seed=1), components=False)
    assert result.common is None and result.fused is not None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("color", [None, "rgb", "gray", "ycbcr"])
def test_a_preferred_picture_wins_where_it_is_said_to(fuse, dtype, color):
    """With any model: its pixels to the last digit at 1, the fusion's at 0, a mean of both at 0.5."""
    pair = [picture(40, 50, 1, dtype=dtype), picture(40, 50, 3, dtype=dtype, seed=1)]
    plain = fuse(*pair, color=color).fused.astype(float)
    maps = np.zeros((2, 40, 50), np.float32)
    maps[0, :10], maps[1, 10:20], maps[0, 20:30] = 1, 1, 0.5
    fused = fuse(*pair, color=color, prefer=maps).fused
    wanted = [np.broadcast_to(pair[0], plain.shape), pair[1]]
    if color == "gray":
        wanted[1] = np.round(pair[1].astype(float) @ [0.299, 0.587, 0.114])[..., None]
    assert fused.dtype == dtype and np.array_equal(fused[:10], wanted[0][:10])
    assert np.abs(fused[10:20] - wanted[1][10:20].astype(float)).max() <= (color == "gray")
    assert np.array_equal(fused[30:], plain[30:])
    assert np.abs(fused[20:30] - (wanted[0][20:30] + plain[20:30]) / 2).max() <= 1


def test_pictures_that_are_both_preferred_share_the_place():
    """Also in the weights: here of a head, on three pictures."""
    series = [torch.full((1, 20, 20), value) for value in (0.2, 0.4, 0.9)]
    maps = torch.zeros(3, 20, 20)
    maps[0, :10], maps[2, :10], maps[1, 10:] = 1, 1, 1
    fusion = Fuser.from_pretrained("defusionpp_hr", device="cpu")(*series, prefer=maps, weights=True)
    assert fusion.fused[0, :10].numpy() == pytest.approx(0.55, abs=1e-6)
    assert fusion.fused[0, 10:].numpy() == pytest.approx(0.4, abs=1e-6)
    assert torch.equal(fusion.weights[:, 0, 0], torch.tensor([0.5, 0, 0.5]))
    assert torch.equal(fusion.weights[:, -1, 0], torch.tensor([0.0, 1, 0]))


@pytest.mark.parametrize(("maps", "message"), [
    (np.zeros((2, 20, 21)), r"shape \(2, 20, 21\); give one map for each picture, \(2, 20, 20\)"),
    (np.zeros((3, 20, 20)), r"shape \(3, 20, 20\)"), (np.full((2, 20, 20), 1.5), r"from 1\.5 to 1\.5; give numbers"),
    (np.full((2, 20, 20), np.nan), "from nan to nan"), (np.full((2, 20, 20), -1), "from -1 to -1")])
def test_preferences_that_do_not_fit_are_one_line(maps, message):
    with pytest.raises(UserError, match=message):
        Fuser(Average(), device="cpu")(picture(20, 20), picture(20, 20), prefer=maps)


@pytest.mark.parametrize("color", ["rgb", "gray", "ycbcr"])
def test_many_pictures_are_one_mean_in_any_order(color):
    """Average by its definition: R, G, B or luma of all pictures alike."""
    stack = [picture(32, 40, 3, seed=i).astype(np.float32) / 255 for i in range(5)]
    fuse = Fuser(Average(), device="cpu", color=color)
    fused = fuse(*stack).fused
    greys = [cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (stack if color == "gray" else [])]
    expected = np.mean(greys, axis=0)[..., None] if color == "gray" else np.mean(stack, axis=0)
    if color != "ycbcr":
        np.testing.assert_allclose(fused, expected, atol=1e-5)
    np.testing.assert_allclose(fuse(*stack[::-1]).fused, fused, atol=1e-5)


def test_a_model_of_pairs_takes_more(fuse):
    """Two by two, the odd one last; a result of many has no parts."""
    class OfPairs(Average):
        traits = replace(Average.traits, many=False)

    stack = [picture(32, 40, 1, seed=i).astype(np.float32) / 255 for i in range(5)]
    expected = (sum(stack[:4]) / 4 + stack[4]) / 2
    np.testing.assert_allclose(Fuser(OfPairs(), device="cpu")(*stack).fused, expected, atol=1e-6)
    result = fuse(*stack[:3])
    assert result.fused.shape == (32, 40, 1) and result.common is None


class Listener(Average):
    """Remembers what it is told of the pictures."""

    traits = replace(Average.traits, roles=True)
    calls = 0

    def decompose(self, *images, **told):
        self.told, self.calls = told, self.calls + 1
        return super().decompose(*images)


@pytest.mark.parametrize(("channels", "task", "roles", "kind"), [
    ((1, 3), "ivf", ("infrared", "visible"), "IVF"), ((3, 3), "IVF", ("infrared", "visible"), "IVF"),
    ((1, 1, 1), "IVF", ("infrared", "visible", "none"), "IVF"), ((3, 1), None, ("visible", "infrared"), "IVF"),
    ((3, 3), None, (), "none"), ((1, 1), None, (), "none"), ((3, 3, 3), "MEF", (), "MEF"), ((3, 3), "MFF", (), "MFF")])
def test_a_model_is_told_the_roles_of_the_pictures(channels, task, roles, kind):
    listener = Listener()
    pictures = [picture(20, 30, count, seed=seed) for seed, count in enumerate(channels)]
    Fuser(listener, device="cpu")(*pictures, task=task)
    assert (listener.told["roles"], listener.told["task"]) == (roles, kind)


@pytest.mark.parametrize("model", ["FusionHead", "SaliencePyramid", "network", "listener"])
def test_scenes_at_once_are_fused_as_one_by_one(fuse, model):
    """In one pass where the scenes are alike and the model takes whole pictures; also where they are not."""
    listener = Listener()
    fuser = {"network": fuse, "listener": Fuser(listener, device="cpu")}.get(model) or Fuser(
        create_model(model), device="cpu", amp="off")
    grey, colour = ([picture(24, 41, count, seed=seed) for seed in (0, 1)] for count in (1, 3))
    small = [picture(20, 30, 3, seed=5), picture(20, 30, 3, seed=6)]
    alike = [(grey[0], colour[0]), (grey[1], colour[1]), (grey[1], colour[0])]
    for scenes, told in ((alike, {"task": "IVF"}), ([*alike, tuple(colour), tuple(grey), tuple(small)], {}),
                         (alike, {"color": "gray"})):
        expected = [fuser(*scene, components=False, **told).fused for scene in scenes]
        listener.calls = 0
        for one, other in zip(fuser.batch(scenes, **told), expected):
            assert one.shape == other.shape and np.abs(one.astype(int) - other).max() <= 1
        assert listener.calls == (0 if model != "listener" else 1 if scenes is alike else len(scenes))


def test_a_scene_that_does_not_fit_is_refused_among_others(fuse):
    with pytest.raises(UserError, match=r"the first picture is 40 x 32 and the second picture is 41 x 32"):
        fuse.batch([(picture(32, 40, 1), picture(32, 40, 1)), (picture(32, 40, 1), picture(32, 41, 1))])


def test_a_third_picture_of_another_size_is_named(fuse):
    with pytest.raises(UserError, match=r"the first picture is 40 x 32 and picture 3 is 41 x 32"):
        fuse(picture(32, 40, 1), picture(32, 40, 1), picture(32, 41, 1))


def test_two_sizes_name_both(fuse):
    with pytest.raises(UserError, match=r"40 x 32.*41 x 32.*register"):
        fuse(picture(32, 40, 1), picture(32, 41, 1))


def test_too_small_pictures_are_refused(fuse):
    with pytest.raises(UserError, match="16 x 16"):
        fuse(picture(15, 20, 1), picture(15, 20, 1))


@pytest.mark.parametrize("kind", [np.asarray, lambda pixels: torch.from_numpy(pixels.transpose(2, 0, 1) / 255)])
def test_pictures_are_lined_up_before_they_are_fused(kind, caplog):
    infrared, visible = rig_pair(12)
    fuse = Fuser(Average(), align="auto", align_margin="fill", color="gray")
    fusion = fuse(kind(infrared), kind(visible), task="IVF")
    assert fusion.alignments[0].shift == pytest.approx((12, 0), abs=1) and fusion.alignments[1] is None
    expected = Fuser(Average())(*(kind(one) for one in rig_pair(0)), task="IVF", color="gray").fused
    differences = np.abs(np.asarray(fusion.fused, float) - np.asarray(expected, float))
    assert differences.mean() < 0.015 * np.asarray(expected, float).max()
    blank = kind(np.full_like(infrared, 90))
    doubtful = Fuser(Average(), align="auto")(blank, kind(visible), task="IVF")
    assert not doubtful.alignments[0].credible and "no credible alignment" in caplog.text
    with pytest.raises(UserError, match="align 'sideways' is unknown"):
        Fuser(Average(), align="sideways")


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(MissingFileError, match="no such weight file"):
        Fuser.from_pretrained(tmp_path / "none.safetensors")
