"""A result folder is whole or says why not: names, table, sheet, archive, and a disk that cannot take it."""

import csv
import resource
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from utils.errors import UserError
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
            results.add(f"p{n}", Fused(noise((10 + n, 20, 1), np.uint16), seconds=n / 8), noise(), noise())
    with (results.folder / "summary.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["stem"] for line in lines] == [f"p{n}" for n in range(12)]
    assert lines[3] == {"stem": "p3", "width": "20", "height": "13", "bit depth": "16", "channels": "1",
                        "seconds": "0.3750"}


def test_contact_sheet_is_written(tmp_path):
    """The sheet is a picture with a column for each part that exists."""
    with ResultFolder(tmp_path, "run", titles=("infrared", "visible")) as results:
        results.add("a", Fused(noise()), noise(), noise())
        results.add("b", whole(), noise(), noise())
    sheet = read_picture(results.folder / "contact_sheet.png")
    assert sheet.size[0] > 6 * 200


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


def test_a_disk_that_refuses_leaves_nothing_half_written(tmp_path):
    """When writing fails in the middle of a pair, the error surfaces as a UserError in one line; every file that
    is there can be read, no temporary file stays, and no pair is there in part."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(UserError, match="cannot be written") as caught, ResultFolder(tmp_path, "run") as results:
            results.add("small", whole(), noise(), noise())
            results._futures[0].result()
            for n in range(20):
                big = noise((200, 200, 3), seed=n)
                results.add(f"big{n}", Fused(big, noise()), noise(), noise())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    files = {path.name for path in (tmp_path / "run" / "test_images").iterdir()}
    assert files == {f"small_{part}.png" for part in ("recover", "common", "upper", "lower", "over", "under")}
    assert all(cv2.imread(str(tmp_path / "run" / "test_images" / name)) is not None for name in files)
    with (tmp_path / "run" / "summary.csv").open(newline="") as file:
        assert [line["stem"] for line in csv.DictReader(file)] == ["small"]


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
