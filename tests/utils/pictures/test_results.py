"""A result folder is whole or says why not: names, table, sheet, archive, one writer, and a disk that refuses."""

import csv
import os
import resource
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from utils.errors import UserError
from utils.pictures import results as results_module
from utils.pictures.metadata import Metadata
from utils.pictures.parts import columns, input_parts
from utils.pictures.picture import Picture
from utils.pictures.reading import read_picture
from utils.pictures.results import ResultFolder


@dataclass
class Fused:
    fused: np.ndarray
    common: np.ndarray | None = None
    unique1: np.ndarray | None = None
    unique2: np.ndarray | None = None
    seconds: float = 0.25


def noise(shape: tuple[int, ...] = (24, 32, 3), dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def whole(seed: int = 0) -> Fused:
    return Fused(*(noise(seed=seed + n) for n in range(4)))


def names(results: ResultFolder) -> set[str]:
    return {path.name for path in results.pictures.iterdir()}


def test_the_fused_picture_alone_inherits_the_metadata_of_its_sources(tmp_path):
    profile = bytes(16) + b"RGB " + bytes(100)
    sources = [Picture.of(noise(seed=n), metadata=Metadata(profile if n == 1 else None)) for n in range(2)]
    with ResultFolder(tmp_path, "run") as results:
        results.add("a", whole(), *sources)
    profiles = {path.name: read_picture(path).metadata.icc for path in results.pictures.iterdir()}
    assert profiles.pop("a_recover.png") == profile and set(profiles.values()) == {None}


def test_published_names_and_exact_pixels(tmp_path):
    """Six files a pair under the published names; what is written is what was given; a dotted stem stays whole."""
    fusion = whole()
    with ResultFolder(tmp_path, "run") as results:
        results.add("scene.01", fusion, noise(seed=8), noise((24, 32), seed=9))
    assert names(results) == {f"scene.01_{part}.png" for part in
                              ("recover", "common", "upper", "lower", "over", "under")}
    for part, pixels in (("recover", fusion.fused), ("common", fusion.common), ("upper", fusion.unique1),
                         ("lower", fusion.unique2), ("over", noise(seed=8))):
        assert np.array_equal(read_picture(results.pictures / f"scene.01_{part}.png").pixels, pixels)


def test_missing_components_are_skipped(tmp_path):
    """A method without components leaves the fused picture and the sources."""
    with ResultFolder(tmp_path, "run") as results:
        results.add("a", Fused(noise()), noise(), noise())
    assert names(results) == {"a_recover.png", "a_over.png", "a_under.png"}


def test_fused_only(tmp_path):
    """Without components and inputs only the fused picture is written."""
    with ResultFolder(tmp_path, "run", components=False, inputs=False, contact_sheet=False) as results:
        results.add("a", whole(), noise(), noise())
    assert names(results) == {"a_recover.png"}
    assert not (results.folder / "contact_sheet.png").exists()


def test_summary_in_the_order_given(tmp_path):
    """One line a pair: size, depth, channels and time, in the order of the pairs."""
    with ResultFolder(tmp_path, "run") as results:
        for n in range(12):
            results.add(f"p{n}", Fused(noise((10 + n, 20, 1), np.uint16), seconds=n / 8), noise(), noise(),
                        note="=unaligned" * (n == 3))
    with (results.folder / "summary.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["stem"] for line in lines] == [f"p{n}" for n in range(12)]
    assert lines[3] == {"stem": "p3", "width": "20", "height": "13", "bit depth": "16", "channels": "1",
                        "seconds": "0.3750", "pictures": "2", "note": "'=unaligned"}


def test_contact_sheet_is_written(tmp_path):
    """The sheet is a picture with a column for each part that exists."""
    with ResultFolder(tmp_path, "run", titles=("infrared", "visible")) as results:
        results.add("a", Fused(noise()), noise(), noise())
        results.add("b", whole(), noise(), noise())
    sheet = read_picture(results.folder / "contact_sheet.png")
    assert sheet.size[0] > 6 * 200


def test_a_stack_keeps_its_inputs_and_shows_nine(tmp_path):
    with ResultFolder(tmp_path, "run") as results:
        results.add("a", Fused(noise()), *(noise(seed=n) for n in range(11)))
    assert names(results) == {"a_recover.png", "a_over.png", "a_under.png", *(f"a_input{n}.png" for n in range(3, 12))}
    assert np.array_equal(read_picture(results.pictures / "a_input11.png").pixels, noise(seed=10))
    assert list(columns({*input_parts(11), "recover"}, ("near", "far")).values()) == [
        "near", "far", *(f"input {n}" for n in range(3, 10)), "fused"]


def test_old_results_are_moved_aside(tmp_path):
    """A second run of the same name leaves the first one's files untouched, under another name."""
    for seed in (1, 2):
        with ResultFolder(tmp_path, "run") as results:
            results.add("a", whole(seed), noise(), noise())
    assert results.archived is not None and results.archived.name.startswith("run_archived_")
    old = read_picture(results.archived / "test_images" / "a_recover.png").pixels
    assert np.array_equal(old, whole(1).fused)


def test_a_file_in_the_way_is_one_line(tmp_path):
    """A root that is a file gives a UserError that names it."""
    (tmp_path / "results").write_text("")
    with pytest.raises(UserError, match="results") as caught:
        ResultFolder(tmp_path / "results", "run")
    assert "\n" not in str(caught.value)


def table(results: ResultFolder) -> list[str]:
    with (results.folder / "summary.csv").open(newline="", encoding="utf-8") as file:
        return [line["stem"] for line in csv.DictReader(file)]


def test_a_pair_that_cannot_be_written_is_passed_over(tmp_path, caplog):
    """Files too large for the drive, in the middle of a pair, and a name too long for it: the pairs are named, no other
    one is lost, no pair is there in part and no temporary file stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with ResultFolder(tmp_path, "run", contact_sheet=False) as results:
            results.add("small", whole(), noise(), noise())
            results.add("big", Fused(noise((200, 200, 3)), noise()), noise(), noise())
            results.add("long" * 62, whole(), noise(), noise())
            results.add("last", Fused(noise()), noise(), noise())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert results.failed == {
        "big": "big: results cannot be written (File too large); skipped",
        "long" * 62: f"{'long' * 62}: results cannot be written (File name too long); skipped"}
    assert all(line in caplog.text for line in results.failed.values())
    assert table(results) == ["small", "last"]
    assert names(results) == {f"small_{part}.png" for part in (
        "recover", "common", "upper", "lower", "over", "under")} | {
        f"last_{part}.png" for part in ("recover", "over", "under")}
    assert all(cv2.imread(str(results.pictures / name)) is not None for name in names(results))


def test_a_full_disk_ends_the_run_with_one_line(tmp_path, monkeypatch):
    """The table of what is there is still written."""
    write = results_module.write_picture

    def fill(path, *arguments):
        if "full" in path.name:
            raise UserError("the disk is full: make room")
        return write(path, *arguments)

    monkeypatch.setattr(results_module, "write_picture", fill)
    with pytest.raises(UserError, match="disk is full") as caught, ResultFolder(tmp_path, "run") as results:
        results.add("a", whole(), noise(), noise())
        results._futures[0].result()
        for n in range(20):
            results.add(f"full{n}", whole(), noise(), noise())
    assert "\n" not in str(caught.value)
    assert len(results._futures) < 20 and not results.failed
    assert table(results) == ["a"]


def test_a_folder_that_takes_nothing_more_ends_the_run(tmp_path):
    with pytest.raises(UserError, match="test_images: results cannot be written"), \
            ResultFolder(tmp_path, "run") as results:
        results.pictures.rmdir()
        results.pictures.write_text("a file in its place")
        for n in range(20):
            results.add(f"p{n}", whole(), noise(), noise())
    assert len(results._futures) < 20


def test_names_that_cannot_be_drawn_or_printed(tmp_path):
    """A line break and a byte that is no text, as Linux allows them in file names; a formula for a spreadsheet."""
    with ResultFolder(tmp_path, "run") as results:
        results.add("a\nb", whole(), noise(), noise())
        results.add("a\udcff", whole(), noise(), noise())
        results.add("=1+1", whole(), noise(), noise())
    assert table(results) == ["a\nb", "a\\udcff", "'=1+1"]
    assert read_picture(results.folder / "contact_sheet.png").size[0] > 6 * 200


def test_a_sheet_that_fails_costs_nothing_else(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(results_module.ContactSheet, "render", lambda sheet: 1 // 0)
    with ResultFolder(tmp_path, "run") as results:
        results.add("a", whole(), noise(), noise())
    assert table(results) == ["a"] and "no contact sheet (ZeroDivisionError" in caplog.text


def test_a_folder_in_use_is_refused_and_stays(tmp_path):
    with ResultFolder(tmp_path, "run") as results:
        results.add("a", whole(), noise(), noise())
        with pytest.raises(UserError, match=f"run is in use by process {os.getpid()} "):
            ResultFolder(tmp_path, "run")
        results.add("b", whole(), noise(), noise())
    assert table(results) == ["a", "b"]
    with ResultFolder(tmp_path, "run"):
        pass


@pytest.mark.parametrize("name", ["set", "ir", "link"])
def test_results_never_take_the_place_of_the_pictures_to_fuse(tmp_path, name):
    source = tmp_path / "set/ir/a.png"
    source.parent.mkdir(parents=True)
    source.write_bytes(b"picture")
    (tmp_path / "link").symlink_to(tmp_path / "set")
    root = tmp_path / "set" if name == "ir" else tmp_path
    with pytest.raises(UserError, match="holds pictures to fuse"):
        ResultFolder(root, name, sources=[source])
    assert source.read_bytes() == b"picture"


def test_an_error_elsewhere_keeps_what_is_there(tmp_path):
    """When fusing fails, the table of the pairs before it is written and the error is the caller's own."""
    with pytest.raises(ZeroDivisionError), ResultFolder(tmp_path, "run") as results:
        results.add("a", whole(), noise(), noise())
        raise ZeroDivisionError
    assert (results.folder / "summary.csv").read_text().count("\n") == 2


def test_a_stem_is_used_once(tmp_path):
    """The same stem twice, or one with a folder in it, is refused instead of overwriting."""
    with ResultFolder(tmp_path, "run") as results:
        results.add("a", whole(), noise(), noise())
        with pytest.raises(ValueError, match="used once"):
            results.add("a", whole(), noise(), noise())
        with pytest.raises(ValueError, match="plain name"):
            results.add("../a", whole(), noise(), noise())
