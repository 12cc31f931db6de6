"""A growing video is playable after each piece, keeps the frames' times, and does not tell whether it was continued."""

from contextlib import suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from tests.clips import av, clip, write_clip
from utils.errors import UserError
from utils.video.joining import join
from utils.video.reading import Colour, DamagedVideo, Video
from utils.video.writing import GrowingVideo, Look

BASE = Fraction(1, 90000)
TIMES = [9000, 12000, 12100, 20000, 50000, 51000, 60000, 70001, 80000, 99000, 120000, 123000]
LOOK = Look((128, 96), Fraction(30), BASE, quality=4)


def pieces(count: int = 12) -> list[list[tuple[int, np.ndarray]]]:
    """Twelve frames in pieces of four."""
    frames = list(zip(TIMES, clip(count, pan=3, noise=0.01)[1]))
    return [frames[start:start + 4] for start in range(0, count, 4)]


def write(path: Path, some: list, kept: int = 0) -> GrowingVideo:
    video = GrowingVideo(path, LOOK, kept)
    for piece in some:
        video.append(piece)
    return video


def test_times_and_pixels_are_kept(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", pieces())
    video = Video(tmp_path / "a.mp4")
    frames = list(video.frames())
    assert [frame.pts * video.time_base for frame in frames] == [time * BASE for time in TIMES]
    for frame, (_, pixels) in zip(frames, chain(*pieces())):
        assert np.abs(frame.pixels().astype(int) - pixels).mean() < 3


def test_it_can_be_played_after_each_piece_and_after_a_crash(tmp_path: Path) -> None:
    video = GrowingVideo(tmp_path / "a.mp4", LOOK)
    for number, piece in enumerate(pieces(), 1):
        video.append(piece)
        assert len(list(Video(tmp_path / "a.mp4").frames())) == 4 * number
    whole = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[:-700])
    seen = []
    with suppress(DamagedVideo):
        seen.extend(frame.pts for frame in Video(tmp_path / "cut.mp4").frames())
    assert 8 <= len(seen) < 12


def test_a_continued_file_is_the_same_file(tmp_path: Path) -> None:
    """Also if there was more than what is kept."""
    write(tmp_path / "whole.mp4", pieces())
    length = write(tmp_path / "cut.mp4", pieces()[:1]).length
    with (tmp_path / "cut.mp4").open("ab") as file:
        file.write(b"half a piece")
    write(tmp_path / "cut.mp4", pieces()[1:], kept=length)
    assert (tmp_path / "cut.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_a_file_that_does_not_fit_is_not_continued(tmp_path: Path) -> None:
    length = write(tmp_path / "a.mp4", pieces()[:1]).length
    with pytest.raises(UserError, match=r"shorter than it was left; --resume; give --overwrite"):
        GrowingVideo(tmp_path / "a.mp4", LOOK, length + 1)
    other = GrowingVideo(tmp_path / "a.mp4", Look((128, 96), Fraction(30), BASE, quality=30), length)
    other._header = b"another encoder's"
    with pytest.raises(UserError, match="encoded by another version"):
        other.append(pieces()[1])
    assert (tmp_path / "a.mp4").stat().st_size == length


def test_without_the_encoder_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with pytest.raises(UserError, match="PyAV was built without libx264; -o; install the wheel"):
        GrowingVideo(tmp_path / "a.mp4", LOOK)


@pytest.mark.parametrize("matrix", [1, 2, 6])
def test_colours_come_back_by_the_matrix_that_is_said(tmp_path: Path, matrix: int) -> None:
    pixels = np.empty((96, 128, 3), np.uint8)
    pixels[:] = 200, 40, 90
    look = Look((128, 96), Fraction(25), Fraction(1, 25), colour=Colour(matrix, 1, 1), quality=1)
    GrowingVideo(tmp_path / "a.mp4", look).append([(0, pixels)])
    video = Video(tmp_path / "a.mp4")
    assert video.colour == Colour(matrix, 1, 1)
    assert np.abs(next(video.frames()).pixels().astype(int) - pixels).max() <= 3


def test_odd_sides_are_cut_and_grey_becomes_colour(tmp_path: Path) -> None:
    grey = np.arange(97 * 129, dtype=np.int64).reshape(97, 129, 1) % 200
    look = Look((128, 96), Fraction(25), Fraction(1, 25), aspect=Fraction(4, 3), quality=1)
    GrowingVideo(tmp_path / "a.mp4", look).append([(0, grey.astype(np.uint8))])
    video = Video(tmp_path / "a.mp4")
    assert video.size == (128, 96) and video.aspect == Fraction(4, 3)
    assert np.abs(next(video.frames()).pixels()[..., 1] - grey[:96, :128, 0]).mean() < 4


def sound(path: Path) -> tuple[int, float]:
    """Number of sound tracks, and the end of the first in seconds."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.dts is not None]
        last = packets[-1]
        return len(container.streams.audio), float((last.pts + last.duration) * last.time_base)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_pictures_and_sound_are_joined_with_their_times(tmp_path: Path, suffix: str) -> None:
    source = write_clip(tmp_path / "source.mp4", clip(30)[1], tone=True)
    write(tmp_path / "pictures.mp4", pieces())
    out = tmp_path / f"out{suffix}"
    assert join(tmp_path / "pictures.mp4", source, out, Fraction(30)) == []
    video = Video(out)
    times = [float(frame.pts * video.time_base) for frame in video.frames()]
    exact = [float(time * BASE) for time in TIMES]
    assert video.rate < 31  # not the unit of time
    assert times == pytest.approx(exact, abs=1e-9 if suffix != ".mkv" else 0.00051)  # mkv has milliseconds
    assert sound(out)[0] == 1 and sound(out)[1] == pytest.approx(1.2, abs=0.13)
    join(tmp_path / "pictures.mp4", source, out, Fraction(30), Fraction(1, 2))
    assert sound(out)[1] == pytest.approx(0.5, abs=0.13)
    assert [path.name for path in tmp_path.glob("*.tmp")] == []


def test_sound_that_a_file_cannot_hold_is_left_out_with_a_line(tmp_path: Path) -> None:
    source = tmp_path / "source.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("tta", rate=44100, layout="mono")
        wave = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.int16), format="s16", layout="mono")
        wave.sample_rate = 44100
        container.mux(stream.encode(wave))
        container.mux(stream.encode())
    write(tmp_path / "pictures.mp4", pieces()[:1])
    (line,) = join(tmp_path / "pictures.mp4", source, tmp_path / "out.mp4", Fraction(30))
    assert ".mp4 holds no sound of type tta; left out" in line
    assert Video(tmp_path / "out.mp4").sound == 0
    assert join(tmp_path / "pictures.mp4", source, tmp_path / "out.mkv", Fraction(30)) == []
    assert Video(tmp_path / "out.mkv").sound == 1
