"""Thermal cameras: radiometric JPEGs as pairs to fuse, and temperature as colour; docs/DATA.md."""

from utils.pictures.thermal.colours import PALETTES, coloured, with_bar
from utils.pictures.thermal.files import TEMPERATURE_FILES, is_radiometric, write_temperatures
from utils.pictures.thermal.scene import Limits, ThermalScene, read_thermal

__all__ = ["PALETTES", "TEMPERATURE_FILES", "Limits", "ThermalScene", "coloured", "is_radiometric", "read_thermal",
           "with_bar", "write_temperatures"]
