"""Each visible frame goes with the infrared frame nearest in time, up to where both videos show something."""

from collections.abc import Iterator
from fractions import Fraction

import pytest

from tests.clips import av  # noqa: F401  skips without PyAV
from utils.video.pairing import nearest_pairs
from utils.video.reading import Frame


def frames(*milliseconds: int) -> list[Frame]:
    return [Frame(time, Fraction(time, 1000), None) for time in milliseconds]


def at_rate(rate: int, count: int) -> list[Frame]:
    return [Frame(number, Fraction(number, rate), None) for number in range(count)]


@pytest.mark.parametrize(("first", "second"), [(9, 30), (25, 30), (30, 25), (60, 24), (30, 30)])
def test_the_partner_is_the_nearest(first: int, second: int) -> None:
    infrared, visible = at_rate(first, 2 * first), at_rate(second, 2 * second)
    pairs = list(nearest_pairs(infrared, visible))
    assert [frame for _, frame in pairs] == visible
    for partner, frame in pairs:
        assert abs(partner.seconds - frame.seconds) == min(abs(one.seconds - frame.seconds) for one in infrared)


def test_uneven_times() -> None:
    pairs = nearest_pairs(frames(0, 100, 130, 500), frames(0, 50, 51, 115, 116, 320, 490))
    assert [partner.pts for partner, _ in pairs] == [0, 0, 100, 100, 130, 500, 500]


def test_the_pairs_end_with_the_shorter_video() -> None:
    assert [frame.pts for _, frame in nearest_pairs(at_rate(10, 10), at_rate(30, 60))] == list(range(31))
    assert [frame.pts for _, frame in nearest_pairs(at_rate(10, 60), at_rate(30, 7))] == list(range(7))
    assert list(nearest_pairs([], at_rate(10, 3))) == list(nearest_pairs(at_rate(10, 3), [])) == []


def test_frames_are_read_as_they_are_needed() -> None:
    read = []

    def told() -> Iterator[Frame]:
        for frame in at_rate(30, 1000):
            read.append(frame.pts)
            yield frame

    pairs = nearest_pairs(told(), at_rate(30, 1000))
    for _ in range(100):
        next(pairs)
    assert len(read) <= 101
