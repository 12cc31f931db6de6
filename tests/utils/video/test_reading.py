"""Videos are read frame by frame, upright, with the times that the file has; what is no video is one line."""

from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.clips import av, clip, write_clip
from utils.errors import UserError
from utils.video.reading import DamagedVideo, Video

UNEVEN = [0, 40, 41, 200, 230, 1000]


def test_times_of_a_variable_frame_rate_are_the_files(tmp_path: Path) -> None:
    _, visible = clip(6)
    times = [700 + time for time in UNEVEN]
    video = Video(write_clip(tmp_path / "a.mp4", visible, times=times, base=Fraction(1, 1000)))
    frames = list(video.frames())
    assert [frame.seconds for frame in frames] == [Fraction(time, 1000) for time in UNEVEN]
    assert [frame.pts * video.time_base for frame in frames] == [Fraction(700 + time, 1000) for time in UNEVEN]
    assert video.size == (128, 96) and video.count == 6


def test_pixels_are_those_that_were_written(tmp_path: Path) -> None:
    infrared, visible = clip(2)
    colour = next(Video(write_clip(tmp_path / "c.mkv", visible, form="yuv444p")).frames()).pixels()
    assert colour.shape == (96, 128, 3) and np.abs(colour.astype(int) - visible[0]).mean() < 1.5
    grey = next(Video(write_clip(tmp_path / "g.mkv", infrared, form="gray", codec="ffv1")).frames()).pixels()
    assert grey.shape == (96, 128, 1) and np.abs(grey.astype(int) - infrared[0]).max() <= 1
    deep = Video(write_clip(tmp_path / "d.mkv", infrared, form="gray16le", codec="ffv1"))
    assert deep.depth == 16 and np.abs(next(deep.frames()).pixels().astype(int) - infrared[0]).max() <= 1


@pytest.mark.parametrize("turned", [90, 180, -90])
def test_frames_of_a_turned_camera_are_upright(tmp_path: Path, turned: int) -> None:
    _, visible = clip(1)
    lying = np.ascontiguousarray(np.rot90(visible[0], -turned // 90))
    video = Video(write_clip(tmp_path / "a.mp4", [lying], turned=turned))
    upright = next(video.frames()).pixels()
    assert video.size == (128, 96) and upright.shape == (96, 128, 3)
    assert np.abs(upright.astype(int) - visible[0]).mean() < 4


def test_frames_without_times_follow_each_other_at_the_rate(tmp_path: Path) -> None:
    _, visible = clip(4)
    frames = list(Video(write_clip(tmp_path / "raw.h264", visible, rate=10)).frames())
    steps = {later.seconds - earlier.seconds for earlier, later in pairwise(frames)}
    assert len(frames) == 4 and len(steps) == 1


def test_a_file_that_changes_its_size_is_read_up_to_there(tmp_path: Path) -> None:
    small, large = (write_clip(tmp_path / f"{side}.h264", clip(3, size=(side, side))[1]) for side in (64, 96))
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    frames = Video(both).frames()
    assert [next(frames).image.width for _ in range(3)] == [64] * 3
    with pytest.raises(DamagedVideo, match=r"both\.h264: frames of 96 x 96 instead of 64 x 64 after .* one size"):
        next(frames)


def test_what_is_no_video_is_one_line(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), clip(1)[1][0])
    (tmp_path / "a.txt").write_text("no video\n")
    (tmp_path / "a.bin").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "empty.mp4").touch()
    whole = write_clip(tmp_path / "whole.mp4", clip(3)[1]).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[:len(whole) // 2])
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    for name, says in {"a.png": "not a video; pictures are fused by defusionpp fuse", "a.txt": "not a video",
                       "a.bin": "not a video, or cut short", "empty.mp4": "not a video, or cut short",
                       "cut.mp4": "not a video, or cut short", "sound.mp4": "no picture track",
                       "none.mp4": "no file"}.items():
        with pytest.raises(UserError) as mistake:
            Video(tmp_path / name)
        assert says in str(mistake.value) and name in str(mistake.value) and "\n" not in str(mistake.value)


def test_a_damaged_file_is_read_up_to_there(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", clip(20, noise=0.02)[1])
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        start, end = packets[10].pos, packets[-1].pos + packets[-1].size
    data = path.read_bytes()
    path.write_bytes(data[:start] + b"\xff" * (end - start) + data[end:])
    seen = []
    with pytest.raises(DamagedVideo, match=r"a\.mp4: damaged after 0\.\d\d s \(.*\); convert it again"):
        seen.extend(frame.seconds for frame in Video(path).frames())
    assert 6 <= len(seen) <= 10


def test_a_decoder_that_ends_silently_where_all_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video, decoded = Video(write_clip(tmp_path / "a.mp4", clip(10)[1])), Video._decoded
    monkeypatch.setattr(Video, "_decoded", lambda *given: islice(decoded(*given), 6))
    with pytest.raises(DamagedVideo, match=r"a\.mp4: damaged after 0\.20 s \(6 of 10 frames can be decoded\)"):
        list(video.frames())
    monkeypatch.setattr(Video, "_decoded", lambda *given: islice(decoded(*given), 8))
    assert len(list(video.frames())) == 8  # some decoders skip a frame or two


def test_a_file_with_no_frame_is_one_line(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()
    with pytest.raises(UserError, match=r"a\.mkv: (no frame can be decoded|damaged at its first frame|not a video)"):
        Video(tmp_path / "a.mkv")
