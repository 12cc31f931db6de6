"""The old names of what now stands in files of its own; goes as soon as nothing imports it."""

from utils.pictures.colour import luma  # noqa: F401
from utils.pictures.depth import ValueRange, from_unit, stretch  # noqa: F401
from utils.pictures.picture import Picture, to_unit  # noqa: F401
from utils.pictures.reading import read_picture  # noqa: F401
from utils.pictures.writing import write_picture  # noqa: F401
from utils.pictures.ycbcr import rgb_to_ycbcr, ycbcr_to_rgb  # noqa: F401
