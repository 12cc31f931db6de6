"""Every definition gives the number that its toolbox gave.

Defaults are held to 1e-9 relative, everything else to 1e-6; the exceptions are listed here by name. They are
plain toolbox forms on images with flat areas, where the toolbox's own value is an accident of rounding: the
"-flat" forms, which follow a fixed rule there, are held to 1e-9 like the other defaults.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from metrics import METRICS, compute
from tests.metrics.triples import SYNTHETIC, SYNTHETIC_VALUES, read_triple

FLAT_AREAS = ("s1", "s4", "r1", "r2", "c1", "c1g")
ROUNDING_DECIDES = {
    "Q_C@MEFB": 1.0,
    "Q_C@Liu": 1.0,
    "Q_Y@MEFB": 1.0,
    "Q_Y@Liu": 1.0,
    "Q_S@Liu": 0.1,
    "Q_W@Liu": 2e-5,
    "VIFF@MEFB": 2e-3,
    "FMI_wavelet@Tang": 2e-3,
    "VIF@Tang": 3e-6,
    "VIF@CDDFuse": 3e-6,
}
DEFAULT_KEYS = {metric.key for metric in METRICS.values() if metric.is_default}


def tolerance(key: str, triple: str) -> float:
    """Largest relative deviation allowed."""
    if key.endswith("-f32"):
        return 1e-4  # the toolbox computed in single precision, we in double
    if key in ROUNDING_DECIDES and triple in FLAT_AREAS:
        return ROUNDING_DECIDES[key]
    return 1e-9 if key in DEFAULT_KEYS else 1e-6


def deviations(triple: str, golden: dict, folder: Path, colour: str = "grey") -> dict[str, str]:
    """What is off, by key."""
    names = sorted({key.removesuffix("-f32") for key in golden})
    values = compute(names, *read_triple(triple, folder), colour=colour)
    wrong = {}
    for key, expected in golden.items():
        value = values[key.removesuffix("-f32")]
        if expected is None:
            continue
        if not abs(value - expected) <= max(tolerance(key, triple) * abs(expected), 1e-12):
            wrong[key] = f"{value!r}, toolbox {expected!r}"
    return wrong


def test_every_golden_key_is_in_the_table():
    keys = {key.removesuffix("-f32") for golden in SYNTHETIC_VALUES.values() for key in golden}
    assert keys <= METRICS.keys()
    ours = {"TCK@infrared", "TCV@infrared"}  # no toolbox has them
    assert DEFAULT_KEYS - keys - ours == {"MS_SSIM@Wang-mean"}  # the synthetic triples are too small for five scales


@pytest.mark.parametrize("triple", SYNTHETIC_VALUES)
def test_synthetic_triples(triple):
    assert deviations(triple, SYNTHETIC_VALUES[triple], SYNTHETIC) == {}


@pytest.mark.parametrize("triple", SYNTHETIC_VALUES)
def test_toolbox_without_value_is_nan_here(triple):
    # Q_C@Liu on s4: whether a window is 0/0 hangs on rounding.
    keys = [key for key, value in SYNTHETIC_VALUES[triple].items() if value is None and key != "Q_C@Liu"]
    values = compute([key.removesuffix("-f32") for key in keys], *read_triple(triple))
    assert all(math.isnan(value) for value in values.values())


@pytest.fixture(scope="module")
def real(shared_data):
    """Folder and values of the real crops, which are not part of the repository."""
    folder = shared_data / "golden" / "metrics"
    if not (folder / "values.json").is_file():
        pytest.skip(f"no real triples at {folder}")
    return folder, json.loads((folder / "values.json").read_text())["values"]


@pytest.mark.parametrize("triple", ["r1", "r2", "r3", "c1g", "c2g"])
def test_real_grey_triples(real, triple):
    folder, values = real
    assert deviations(triple, values[triple], folder) == {}


@pytest.mark.parametrize("triple", ["c1", "c2"])
def test_colour_by_channels_is_what_the_benchmarks_do(real, triple):
    folder, values = real
    golden = {key: value for key, value in values[triple].items() if key != "SF@VIFB"}
    assert deviations(triple, golden, folder, colour="channels") == {}


@pytest.mark.parametrize("triple", ["c1", "c2"])
def test_sf_of_vifb_on_colour_lays_the_channels_side_by_side(real, triple):
    folder, values = real
    fused = read_triple(triple, folder)[2]
    side_by_side = np.hstack(list(np.moveaxis(fused, 2, 0)))
    seamed = compute(["SF"], side_by_side, side_by_side, side_by_side)["SF"]
    assert seamed == pytest.approx(values[triple]["SF@VIFB"], rel=1e-12)


@pytest.mark.parametrize("triple", ["c1", "c2"])
def test_colour_as_grey_is_the_grey_triple(real, triple):
    folder, _ = real
    names = ["EN", "MI", "SSIM", "VIF", "Qabf", "CC"]
    coloured = compute(names, *read_triple(triple, folder))
    assert coloured == compute(names, *read_triple(f"{triple}g", folder))
