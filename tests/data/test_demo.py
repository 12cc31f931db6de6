"""The demo set: published layouts, deterministic, said to be simulated, and made without a network."""

import hashlib
import socket
from pathlib import Path

import numpy as np
import pytest

from data import demo, simulate
from utils.errors import UserError
from utils.pictures.reading import read_picture


@pytest.fixture(scope="module")
def demo_set(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    demo.write_demo(out)
    return out


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_layout(demo_set):
    """ivf/{ir,vi}/<stem>, mef/input/<scene>/{over,under}, mff/input/<scene>/{a,b}, photos/, README.txt."""
    infrared = {path.name for path in (demo_set / "ivf" / "ir").iterdir()}
    assert infrared == {path.name for path in (demo_set / "ivf" / "vi").iterdir()} and len(infrared) >= 3
    for task, sides in (("mef", {"over.png", "under.png"}), ("mff", {"a.png", "b.png"})):
        scenes = list((demo_set / task / "input").iterdir())
        assert len(scenes) >= 3
        assert all({path.name for path in scene.iterdir()} == sides for scene in scenes)
    assert len(list((demo_set / "photos").iterdir())) == len(demo.PHOTOGRAPHS)


def test_pairs_match_in_size_and_kind(demo_set):
    """8-bit pictures of at most 480 pixels; the two of a pair have one size; infrared is grey."""
    pairs = [(path, demo_set / "ivf" / "vi" / path.name) for path in (demo_set / "ivf" / "ir").iterdir()]
    pairs += [tuple(sorted(scene.iterdir())) for scene in demo_set.glob("m?f/input/*")]
    for first, second in pairs:
        one, two = read_picture(first), read_picture(second)
        assert one.size == two.size and max(one.size) <= 480
        assert one.bit_depth == two.bit_depth == 8
    assert all(read_picture(path).is_grey for path in (demo_set / "ivf" / "ir").iterdir())


def test_exposures_are_what_their_names_say(demo_set):
    """`over` is brighter than `under`, which is how the test layout tells them apart."""
    for scene in (demo_set / "mef" / "input").iterdir():
        assert read_picture(scene / "over.png").pixels.mean() > read_picture(scene / "under.png").pixels.mean() + 40


def test_same_bytes_again_without_a_network(demo_set, tmp_path, monkeypatch):
    """A second run writes the same bytes, also with every connection refused."""
    def refuse(*_args, **_keywords):
        raise OSError("no network in this test")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    demo.write_demo(tmp_path)
    assert digest(tmp_path) == digest(demo_set)


def test_readme_says_simulated_and_lists_licences(demo_set):
    """README.txt says that the pairs are simulated and gives each photograph's licence."""
    text = (demo_set / "README.txt").read_text(encoding="utf-8")
    assert "SIMULATED" in text
    for name, photograph in demo.PHOTOGRAPHS.items():
        assert f"photos/{name}.png: {photograph.licence}" in text
        assert "CC0" in photograph.licence or "public domain" in photograph.licence


def test_errors_are_one_line(tmp_path, monkeypatch):
    """A folder that is a file, or a photograph that the package lacks, gives a UserError."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        demo.write_demo(tmp_path / "file")
    monkeypatch.setitem(demo.PHOTOGRAPHS, "cat", demo.Photograph("no_such.png", "CC0"))
    with pytest.raises(UserError, match=r"no_such\.png"):
        demo.load_photograph("cat")


def test_focus_pair_is_sharp_where_it_says():
    """Away from the border each side keeps the photograph's pixels on one side and smooths the other."""
    image = np.random.default_rng(0).random((80, 80, 3), np.float32)
    near = np.zeros((80, 80), np.float32)
    near[:, :40] = 1
    first, second = simulate.focus_pair(image, near, 3)
    assert np.allclose(first[:, :40], image[:, :40], atol=1e-6)
    assert np.allclose(second[:, 50:], image[:, 50:], atol=1e-5)
    assert first[:, 50:].std() < 0.4 * image[:, 50:].std()
    assert second[:, :30].std() < 0.4 * image[:, :30].std()


def test_simulated_values_stay_in_range():
    """Every simulation stays in [0, 1] on black, white and noise."""
    for image in (np.zeros((32, 40, 3), np.float32), np.ones((32, 40, 3), np.float32),
                  np.random.default_rng(1).random((32, 40, 3), np.float32)):
        mask = simulate.soft_region([(0.2, 0.2), (0.8, 0.2), (0.5, 0.9)], (32, 40), 2)
        made = [simulate.thermal(image, [(mask, 0.9)]), simulate.dim(image, 0.2), simulate.haze(image, 0.8, 0.2),
                *simulate.bracket(image, simulate.slope((32, 40), (1, 1), 2), 2), *simulate.focus_pair(image, mask, 2)]
        for picture in made:
            assert picture.min() >= 0 and picture.max() <= 1 + 1e-6 and np.isfinite(picture).all()
