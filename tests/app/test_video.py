"""`defusionpp video`: what is fused with what and when, going on after any end, and what a mistake prints."""

import gc
import json
import os
import re
import shutil
import sys
import weakref
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="videos need PyAV (extra video)")

from app import film, follow
from app.follow import Follower
from app.video import main, parser
from models.fuser import Fuser
from models.registry import MODELS
from tests.clips import av, clip, write_clip
from utils import cli
from utils.errors import UserError
from utils.pictures.alignment import Alignment
from utils.pictures.colour import grey_levels
from utils.video.reading import Frame, Video

PIECE = 6  # frames written at a time, and between two estimates: fewer than usual
FILES = ["--ir", "ir.mp4", "--vi", "vi.mp4", "-o", "out.mp4", "--device", "cpu"]
CALL = [*FILES, "--model", "SaliencePyramid"]


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, "PIECE", PIECE)
    monkeypatch.setattr(follow, "PERIOD", PIECE)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An infrared and a visible video of 20 frames with noise and a moving disk; the visible one has sound."""
    folder = tmp_path_factory.mktemp("films")
    infrared, visible = clip(20, noise=0.02, disk=3)
    write_clip(folder / "ir.mp4", infrared)
    write_clip(folder / "vi.mp4", visible, tone=True)
    return folder


@pytest.fixture
def here(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for path in films.iterdir():
        shutil.copy2(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def frames(path: str | Path) -> list[np.ndarray]:
    return [frame.pixels() for frame in Video(Path(path)).frames()]


def stop_after(count: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the alignment of a later frame fail."""
    usual = Follower.__call__

    def align(self: Follower, number: int, *pixels: np.ndarray) -> list[np.ndarray]:
        if number == count:
            raise error
        return usual(self, number, *pixels)

    monkeypatch.setattr(Follower, "__call__", align)


def test_each_frame_is_the_fusers_with_the_visible_videos_time_and_sound(here: Path) -> None:
    assert main([*CALL, "--steady", "0", "--quality", "1", "--batch", "5"]) == 0
    fuser = Fuser(MODELS.create("SaliencePyramid"), device="cpu")
    given, result = list(Video(Path("vi.mp4")).frames()), list(Video(Path("out.mp4")).frames())
    assert [frame.seconds for frame in result] == [frame.seconds for frame in given]
    assert Video(Path("out.mp4")).sound == 1
    for infrared, visible, fused in list(zip(frames("ir.mp4"), given, result))[::7]:
        wanted = fuser(infrared, visible.pixels(), task="IVF").fused
        assert np.abs(grey_levels(fused.pixels()).astype(int) - grey_levels(wanted)).mean() < 1
    assert sorted(path.name for path in here.iterdir() if path.name[0] != ".") == ["ir.mp4", "out.mp4", "vi.mp4"]


def test_still_areas_are_steady_unless_told_otherwise(here: Path) -> None:
    assert main(CALL) == main([*CALL[:5], "raw.mp4", *CALL[6:], "--steady", "0"]) == 0
    steady, raw = (np.diff([frame[:20].astype(int) for frame in frames(name)], axis=0)
                   for name in ("out.mp4", "raw.mp4"))
    assert np.abs(steady).mean() < 0.9 * np.abs(raw).mean()


def test_of_two_rates_the_visible_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    times = [0, 40, 75, 130, 160, 200, 500, 710]
    dark = [np.full((32, 48, 3), 20, np.uint8)] * len(times)
    write_clip(Path("vi.mp4"), dark, times=times, base=Fraction(1, 1000))
    levels = (40, 80, 120, 160, 200, 240)
    write_clip(Path("ir.mp4"), [np.full((32, 48, 1), level, np.uint8) for level in levels], rate=10)
    assert main([*FILES, "--model", "Average", "--steady", "0", "--quality", "1"]) == 0
    said = capsys.readouterr()
    assert "note: ir.mp4 has 10 frames/s, vi.mp4 " in said.err and "nearest in time" in said.err
    assert "note: ir.mp4 lasts 0.60 s, vi.mp4 " in said.err
    result = list(Video(Path("out.mp4")).frames())
    assert [frame.seconds * 1000 for frame in result] == times[:7]
    levels = [2 * frame.pixels().mean() - 20 for frame in result]
    assert levels == pytest.approx([40, 40, 80, 80, 120, 120, 240], abs=5)
    assert "7 frames of 48 x 32 fused" in said.out


def test_the_sound_ends_with_the_shorter_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    grey = [np.full((32, 48, 3), 90, np.uint8)] * 30
    write_clip(Path("vi.mp4"), grey, rate=10, tone=True)
    write_clip(Path("ir.mp4"), grey[:10], rate=10)
    assert main([*FILES, "--model", "Average"]) == 0
    assert len(frames("out.mp4")) == 11
    with av.open("out.mp4") as container:
        packets = [packet for packet in container.demux(audio=0) if packet.dts is not None]
    assert float(packets[-1].pts * packets[-1].time_base) == pytest.approx(1.1, abs=0.14)


def moving_with_the_disk(reference: np.ndarray, picture: np.ndarray) -> Alignment:
    size = reference.shape[1], reference.shape[0]
    right = float(np.argmax(picture[48])) / 10
    return Alignment(np.array([[1, 0, right], [0, 1, 0], [0, 0, 1]]), size, size, 0.9)


@pytest.mark.parametrize("align", ["none", "track"])
def test_an_interrupted_run_leaves_what_can_be_played_and_goes_on(
        here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, align: str) -> None:
    """Bytes of the result are those of a run that was not interrupted; the alignment moves with the disk."""
    monkeypatch.setattr(follow, "find_alignment", moving_with_the_disk)
    call = [*CALL, "--align", align]
    assert main([*call[:5], "whole.mp4", *call[6:]]) == 0
    with monkeypatch.context() as patched:
        stop_after(10, KeyboardInterrupt(), patched)
        with pytest.raises(KeyboardInterrupt):
            main(call)
    assert "note: out.part.mp4 can be played; the same command with --resume goes on" in capsys.readouterr().err
    assert len(frames("out.part.mp4")) == 10 and not Path("out.mp4").exists()
    with pytest.raises(UserError, match=r"out\.part\.mp4 was left by an interrupted run; give --resume"):
        main(call)
    with pytest.raises(UserError, match=r"was begun with steady 2, not 1; --resume; give the same, or --overwrite"):
        main([*call, "--resume", "--steady", "1"])
    begun = []
    with monkeypatch.context() as patched:
        patched.setattr(Follower, "__call__", _told(begun))
        assert main([*call, "--resume"]) == 0
    assert begun[0] == PIECE - 2  # the filter looks back
    assert Path("out.mp4").read_bytes() == Path("whole.mp4").read_bytes()
    assert not list(here.glob("*.part.*"))


def _told(numbers: list[int]) -> Callable:
    usual = Follower.__call__

    def align(self: Follower, number: int, *pixels: np.ndarray) -> list[np.ndarray]:
        numbers.append(number)
        return usual(self, number, *pixels)

    return align


def test_a_killed_run_goes_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is tidied up: an error that nobody expects, then half of a piece that was being written."""
    assert main([*CALL[:5], "whole.mp4", *CALL[6:]]) == 0
    with monkeypatch.context() as patched:
        stop_after(2 * PIECE + 3, ZeroDivisionError(), patched)
        with pytest.raises(ZeroDivisionError):
            main(CALL)
    with Path("out.part.mp4").open("ab") as file:
        file.write(b"\0\0\1\0moof half a piece")
    assert len(list(Video(Path("out.part.mp4")).frames())) == 2 * PIECE
    assert main([*CALL, "--resume"]) == 0
    assert Path("out.mp4").read_bytes() == Path("whole.mp4").read_bytes()


def test_a_broken_state_is_one_line_and_overwrite_begins_anew(here: Path) -> None:
    Path("out.part.json").write_text("{}")
    Path("out.part.mp4").touch()
    with pytest.raises(UserError, match=r"out\.part\.json: not the state of a video \(KeyError\); --resume; give"):
        main([*CALL, "--resume"])
    assert main([*CALL, "--overwrite"]) == 0
    assert len(frames("out.mp4")) == 20 and not list(here.glob("*.part.*"))


def test_a_result_stays_until_something_is_said(here: Path, capsys: pytest.CaptureFixture) -> None:
    Path("out.mp4").write_bytes(b"a result")
    with pytest.raises(UserError, match=r"out\.mp4 exists; give --overwrite, or --resume"):
        main(CALL)
    assert main([*CALL, "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "kept" and Path("out.mp4").read_bytes() == b"a result"
    os.utime("out.mp4", (1, 1))
    assert main([*CALL, "--resume", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["status"] == "fused" and told["frames"] == 20 and told["rate"] > 0 and told["size"] == [128, 96]
    assert told["alignment"] is None and told["notes"] == []


def shifted(count: int, shifts: list[float]) -> tuple[list, list]:
    """A clip whose infrared camera shows things further to the right, by a shift that changes."""
    infrared = [clip(1, size=(144, 192), shift=shift)[0][0] for shift in shifts]
    return infrared, clip(1, size=(144, 192))[1] * count


def test_alignment_is_estimated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                     capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    infrared, visible = shifted(5, [10.0] * 5)
    write_clip(Path("ir.mp4"), infrared)
    write_clip(Path("vi.mp4"), visible)
    assert main([*CALL, "--align", "once", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["alignment"]["shift"] == pytest.approx([10, 0], abs=0.5) and told["size"] == [192, 144]
    straight, _ = shifted(1, [0.0])
    aligned = Follower(Video(Path("ir.mp4")), Video(Path("vi.mp4")), "once")(0, infrared[0], visible[0])
    inside = np.s_[8:-8, 8:-24]
    assert np.abs(aligned[0].astype(int) - straight[0])[inside].mean() < 2
    assert aligned[1] is visible[0]


@pytest.mark.parametrize(("confidences", "calls", "best"), [((0.2, 0.9, 0.95, 0.3), 2, 0.9),
                                                            ((0.2, 0.3, 0.25, 0.1), 4, 0.3)])
def test_the_first_clear_alignment_is_kept_or_the_best(here: Path, monkeypatch: pytest.MonkeyPatch, confidences: tuple,
                                                       calls: int, best: float) -> None:
    asked = []

    def found(reference: np.ndarray, picture: np.ndarray) -> Alignment:
        asked.append(confidences[len(asked)])
        return Alignment(np.eye(3), (128, 96), (128, 96), asked[-1])

    monkeypatch.setattr(follow, "find_alignment", found)
    follower = Follower(Video(Path("ir.mp4")), Video(Path("vi.mp4")), "once")
    assert len(asked) == calls and follower.record()["confidence"] == best and follower.doubt is None


def test_alignment_is_followed(tmp_path: Path) -> None:
    """The infrared camera turns away by a pixel a frame; a stretch in between is black."""
    shifts = list(range(4 * PIECE))
    infrared, visible = shifted(len(shifts), shifts)
    infrared = [one if not 8 < number < 14 else np.zeros_like(one) for number, one in enumerate(infrared)]
    videos = (Video(write_clip(tmp_path / "ir.mp4", infrared)), Video(write_clip(tmp_path / "vi.mp4", visible)))
    follower = Follower(*videos, "track")
    found, black = [], np.zeros((144, 192, 1), np.uint8)
    for number in range(len(shifts)):
        edge = black.copy()
        edge[:, 100:] = 200  # where an edge at column 100 is put tells the shift
        row = follower(number, edge, visible[0])[0][72, :, 0].astype(float)
        found.append(100 - np.interp(100, row[80:110], np.arange(80, 110)) - 0.5)
        state = follower.state() if number == PIECE - 1 else None
        if state:
            resumed = Follower(*videos, "track", kept=state, begin=PIECE)
            assert [end.matrix.tolist() for end in resumed._ends] == [end.matrix.tolist() for end in follower._ends]
    # The estimate at frame 12 is not credible: the shift of frame 6 is kept until then, and caught up with by 18.
    assert found[:PIECE] == pytest.approx(shifts[:PIECE], abs=0.6)
    assert found[PIECE:2 * PIECE] == pytest.approx([shifts[PIECE]] * PIECE, abs=0.6)
    assert found[3 * PIECE] == pytest.approx(shifts[3 * PIECE], abs=0.6)


def test_without_a_credible_alignment_frames_are_fused_as_they_lie(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    _, visible = clip(3, size=(144, 192))
    write_clip(Path("vi.mp4"), visible)
    write_clip(Path("ir.mp4"), [np.full((144, 192, 1), 90, np.uint8)] * 3)
    assert main([*CALL, "--align", "once"]) == 2
    said = capsys.readouterr().err
    assert re.search(r"note: ir.mp4: no credible alignment with vi.mp4 \(confidence 0.0\d\); --align once; fused", said)
    assert len(frames("out.mp4")) == 3
    write_clip(Path("ir.mp4"), [np.full((100, 120, 1), 90, np.uint8)] * 3)
    with pytest.raises(UserError, match=r"no credible alignment .* or give --resize without --align"):
        main([*CALL, "--align", "once", "--overwrite"])
    with pytest.raises(UserError, match=r"ir\.mp4 has 120 x 100 pixels, vi\.mp4 192 x 144; --align; give --align once"):
        main([*CALL, "--overwrite"])
    assert main([*CALL, "--resize", "--overwrite"]) == 0
    assert frames("out.mp4")[0].shape == (144, 192, 3)


def test_a_damaged_video_is_fused_up_to_there(here: Path, capsys: pytest.CaptureFixture) -> None:
    whole = Path("ir.mp4").read_bytes()
    with av.open("ir.mp4") as container:  # the second half of the coded pictures is overwritten
        packets = [packet for packet in container.demux(video=0) if packet.size]
        start, end = packets[10].pos, packets[-1].pos + packets[-1].size
    Path("ir.mp4").write_bytes(whole[:start] + b"\xff" * (end - start) + whole[end:])
    assert main([*CALL, "--batch", "4"]) == 2
    said = capsys.readouterr()
    assert "ir.mp4: damaged after" in said.err and "fused up to there" in said.err
    assert 6 <= len(frames("out.mp4")) <= 10


def test_odd_sides_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    infrared, visible = clip(2, size=(97, 129))
    write_clip(Path("ir.mkv"), infrared, form="gray", codec="ffv1")
    write_clip(Path("vi.mkv"), visible, form="yuv444p", codec="ffv1")
    assert main(["--ir", "ir.mkv", "--vi", "vi.mkv", "-o", "out.mkv", *CALL[6:]]) == 0
    said = capsys.readouterr().err
    assert "vi.mkv has 129 x 97 pixels; a video needs even sides; the last column and row is cut off" in said
    assert Video(Path("out.mkv")).size == (128, 96)


def test_memory_does_not_grow(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive, most, usual = set(), [], Frame.pixels

    def pixels(self: Frame) -> np.ndarray:
        array = usual(self).copy()
        alive.add(id(array))
        weakref.finalize(array, alive.discard, id(array))
        most.append(len(alive))
        return array

    monkeypatch.setattr(Frame, "pixels", pixels)
    gc.collect()
    assert main([*FILES, "--model", "Average", "--batch", "2"]) == 0
    assert len(most) == 40 and max(most) <= 2 * 2 * 2


def test_the_help_fits_80_columns() -> None:
    assert max(map(len, parser().format_help().splitlines())) <= 80


def test_a_missing_library_is_one_line(here: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(sys, "argv", ["defusionpp video", *CALL])
    with pytest.raises(SystemExit) as left:
        cli.run(main)
    assert left.value.code == 2
    assert capsys.readouterr().err == ("error: av is not installed; this command needs it; "
                                       "pip install 'defusionpp[video]'\n")


@pytest.mark.parametrize(("words", "message"), [
    (["--ir", "none.mp4", "--vi", "vi.mp4", "-o", "x.mp4"], "no file none.mp4; check the path"),
    (["--ir", "ir.mp4", "-o", "x.mp4"], "required: --vi; command line; see defusionpp video --help"),
    (["--ir", "ir.mp4", "--vi", "vi.mp4", "-o", "x.gif"], "x.gif: videos are written as .mkv, .mov, .mp4; -o"),
    (["--ir", "ir.mp4", "--vi", "vi.mp4", "-o", "folder"], "folder: videos are written as"),
    (["--ir", "ir.mp4", "--vi", "vi.mp4", "-o", "vi.mp4", "--overwrite"], "vi.mp4 is a source; -o vi.mp4; give"),
    (["--ir", "ir.mp4", "--vi", "x.part.mp4", "-o", "x.mkv", "--overwrite"], "x.part.mp4 is a source; -o x.mkv; give"),
    (["--ir", "ir.mp4", "--vi", "./ir.mp4", "-o", "x.mp4"], "ir.mp4 is given as both; --ir and --vi; give two videos"),
    (["--ir", "ir.mp4", "--vi", "vi.mp4", "-o", "x.mp4", "--steady", "3"], "invalid choice: 3"),
    (["--ir", "ir.mp4", "--vi", "vi.mp4", "-o", "x.mp4", "--quality", "60"], "--quality 60; command line; give 0"),
    (["--ir", "ir.mp4", "--vi", "vi.mp4", "-o", "x.mp4", "--batch", "0"], "--batch 0; command line; give 1 or more"),
    (["--ir", "ir.mp4", "--vi", "vi.mp4", "-o", "x.mp4", "--align", "once", "--resize"], "--resize and --align"),
    (["--ir", "ir.mp4", "--vi", "vi.mp4", "-o", "vi.mp4/x.mp4"], "vi.mp4 is a file, a folder is needed there"),
    (["--ir", "ir.mp4", "--vi", "vi.mp4", "-o", "x.mp4", "--model", "Averge"], "did you mean Average"),
    (["--ir", "ir.txt", "--vi", "vi.mp4", "-o", "x.mp4"], "ir.txt: not a video"),
])
def test_a_mistake_is_one_line(here: Path, words: list[str], message: str) -> None:
    Path("ir.txt").write_text("not a video\n")
    before = sorted(path for path in here.iterdir() if path.name[0] != ".")
    with pytest.raises(UserError) as mistake:
        main(words)
    assert message in str(mistake.value) and "\n" not in str(mistake.value)
    assert sorted(path for path in here.iterdir() if path.name[0] != ".") == before
