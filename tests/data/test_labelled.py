"""Labels belong to their pictures through pairing, batches and crops; a bad one is named with its reason."""

import numpy as np
import pytest
import torch
from PIL import Image

from data.labelled import LabelledCrop, LabelledFolder, crop_nearest, find_labelled
from data.labels import IGNORED, check_labels, read_label, refuse
from utils.errors import UserError
from utils.pictures.writing import write_picture


def generators(seed=0):
    return {"crop": torch.Generator().manual_seed(seed)}


@pytest.fixture
def root(tmp_path):
    """Three pairs whose pictures hold their label: infrared 20 times the id, the visible red 10 times."""
    random = np.random.default_rng(0)
    for number in range(3):
        label = random.integers(0, 9, (40 + number, 60 - number)).astype(np.uint8)
        visible = np.stack([10 * label, np.full_like(label, number), label], -1)
        write_picture(tmp_path / "ir" / f"{number}.png", 20 * label)
        write_picture(tmp_path / "vi" / f"{number}.bmp", visible)
        write_picture(tmp_path / "label" / f"{number}.png", label)
    return tmp_path


def pairs_of(root):
    problems = []
    scenes = find_labelled([root / "ir", root / "vi"], root / "label", problems)
    return scenes, problems


def test_pairs_and_labels_meet_by_stem(root):
    scenes, problems = pairs_of(root)
    assert not problems and [scene.stem for scene in scenes] == ["0", "1", "2"]
    source = LabelledFolder(scenes, ["infrared", "visible"])
    batch = source.collate([source.read(index) for index in range(3)])
    assert batch.pictures.shape == (3, 6, 42, 60) and batch.sizes.tolist() == [[40, 60], [41, 59], [42, 58]]
    for pictures, label, (h, w) in zip(batch.pictures, batch.labels[:, 0], batch.sizes.tolist()):
        for channel, factor in ((0, 20), (2, 20), (3, 10), (5, 1)):
            assert torch.equal(pictures[channel, :h, :w], factor * label[:h, :w])
        assert (label[h:] == IGNORED).all() and (label[:, w:] == IGNORED).all() and (pictures[:, h:] == 0).all()


def test_a_file_without_its_partner_is_named(root):
    (root / "label" / "0.png").unlink()
    (root / "vi" / "1.bmp").unlink()
    write_picture(root / "label" / "2.bmp", np.zeros((42, 58), np.uint8))
    scenes, problems = pairs_of(root)
    assert not {scene.stem for scene in scenes} - {"2"}
    assert f"0: no label of that stem in {root / 'label'}" in problems
    assert f"{root / 'ir' / '1.png'}: no partner of that stem in {root / 'vi'}" in problems
    assert f"{root / 'label' / '1.png'}: no picture of that stem in {root / 'ir'} and {root / 'vi'}" in problems
    assert f"{root / 'label' / '2.png'}: has the stem of 2.bmp; keep one of them" in problems
    problems = []
    find_labelled([root / "ir"], root / "label", problems, {"2", "absent"})  # the rest is not asked for
    assert problems[1:] == [f"absent: no label of that stem in {root / 'label'}"]


def test_results_of_a_fusing_run_are_pictures(root):
    for number in range(3):
        for part in ("recover", "common", "over"):
            write_picture(root / "fused" / f"{number}_{part}.png", np.zeros((40, 60), np.uint8))
    problems = []
    scenes = find_labelled([root / "fused"], root / "label", problems)
    assert not problems and [scene.pictures[0].name for scene in scenes] == [f"{n}_recover.png" for n in range(3)]


def test_bad_labels_are_listed(root):
    write_picture(root / "label" / "0.png", np.zeros((40, 61), np.uint8))
    write_picture(root / "label" / "1.png", np.full((41, 59), 9, np.uint8))
    write_picture(root / "label" / "2.png", np.zeros((42, 58, 3), np.uint8) + np.arange(3, dtype=np.uint8))
    scenes, _ = pairs_of(root)
    size, ids, colours = check_labels(scenes, 9)
    assert size == (f"{root / 'label' / '0.png'}: is 61 x 40, its picture {root / 'ir' / '0.png'} is 60 x 40 "
                    "(width x height)")
    assert ids == f"{root / 'label' / '1.png'}: ids 9 are none of the 9 classes, 0 to 8 (255: not labelled)"
    assert colours.startswith(f"{root / 'label' / '2.png'}: a label has one channel of class ids, this picture is RGB")
    with pytest.raises(UserError, match=r"^set: 3 files cannot be used; .*\n.*0\.png: is 61 x 40") as caught:
        refuse([size, ids, colours], "set")
    assert str(caught.value).splitlines()[1:] == [size, ids, colours]
    refuse([], "set")


def test_a_broken_label_is_listed(root):
    data = (root / "label" / "0.png").read_bytes()
    (root / "label" / "0.png").write_bytes(data[: len(data) // 2])
    (root / "label" / "1.png").write_bytes(b"")
    broken = check_labels(pairs_of(root)[0], 9)
    assert [line.partition(" (")[0] for line in broken] == [f"{root / 'label' / name}: no whole picture"
                                                            for name in ("0.png", "1.png")]


def test_a_palette_is_not_its_colours(tmp_path):
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4) % 5
    image = Image.fromarray(ids)
    image.putpalette([7, 200, 100] * 256)
    image.save(tmp_path / "palette.png")
    assert image.mode == "P" and np.array_equal(read_label(tmp_path / "palette.png"), ids)


def test_ids_above_a_byte_are_an_error(tmp_path):
    Image.fromarray(np.array([[0, 300]], np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(UserError, match=r"deep\.png: holds ids from 0 to 300; ids are 0 to 254"):
        read_label(tmp_path / "deep.png")


def test_a_shrunk_label_holds_ids_of_the_place(tmp_path):
    label = np.kron([[0, 4], [8, 2]], np.ones((20, 30))).astype(np.uint8)
    for folder in ("vi", "label"):
        write_picture(tmp_path / folder / "a.png", label)
    source = LabelledFolder(find_labelled([tmp_path / "vi"], tmp_path / "label", []), ["none"], short_side=20)
    scene = source.read(0)
    assert scene.pictures.shape == (3, 20, 30)
    assert np.array_equal(scene.label[0], np.kron([[0, 4], [8, 2]], np.ones((10, 15))))


def test_a_crop_moves_pictures_and_label_alike(tmp_path):
    """On smooth ramps a picture tells where each of its pixels was; the label's ramp says the same, to its steps."""
    across = np.broadcast_to(np.arange(96, dtype=np.uint8), (64, 96))
    down = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None], (64, 96))
    for name, ramp in (("across", across), ("down", down)):
        write_picture(tmp_path / "vi" / f"{name}.png", ramp)
        write_picture(tmp_path / "label" / f"{name}.png", ramp)
    source = LabelledFolder(find_labelled([tmp_path / "vi"], tmp_path / "label", []), ["none"])
    batch = source.collate([source.read(0), source.read(1)] * 32)
    pictures, labels = LabelledCrop(32)(batch, generators())
    assert pictures.shape == (64, 3, 32, 32) and labels.shape == (64, 32, 32) and labels.dtype == torch.int64
    assert (255 * pictures[:, 0] - labels).abs().max() < 1
    rising = labels[::2, 0, -1] - labels[::2, 0, 0]
    assert (rising > 0).any() and (rising < 0).any(), "some are mirrored, some are not"
    assert 15 <= rising.abs().min() < 20 < 28 < rising.abs().max() <= 31, "between 16 and 32 pixels wide"
    assert torch.equal(LabelledCrop(32)(batch, generators())[1], labels)


def test_a_crop_stays_inside_a_scene_that_is_smaller(root):
    source = LabelledFolder(pairs_of(root)[0], ["infrared", "visible"])
    _, labels = LabelledCrop(96)(source.collate([source.read(index) for index in range(3)]), generators())
    assert labels.max() < IGNORED


def test_nearest_crops_by_hand():
    label = torch.arange(24).view(1, 4, 6)
    boxes, flip = torch.tensor([[1, 2, 2, 4]]), torch.tensor([True])
    assert crop_nearest(label, boxes, 4, flip)[0].tolist() == [[11, 10, 9, 8]] * 2 + [[17, 16, 15, 14]] * 2
