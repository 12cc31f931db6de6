"""Windowed quality indices after Piella (Q_S, Q_W, Q_E), Cvejic (Q_C) and Yang (Q_Y).

They divide local variances by each other or use their sign, so in flat windows they depend on the rounding noise of the
one-pass formula. The defaults set those moments to exactly 0; the plain forms are those of the toolboxes.
"""

import cv2
import numpy as np

from .structure import similarity, ssim_map
from .triple import Triple, shared
from .windows import GAUSS7, GAUSS11, covariance

NO_CONSTANTS = (2e-16, 2e-16)
AGREEMENT = 0.75  # Q_Y: similarity from which the sources count as equal


@shared
def _salience_mix(triple: Triple, flat_rule: bool) -> tuple[np.ndarray, np.ndarray]:
    """Local similarity of F to the sources, weighted by their variances, and the larger of these variances."""
    var_a, var_b = (covariance(triple, x, x, GAUSS11, flat_rule) for x in ("a", "b"))
    both_zero = var_a + var_b == 0
    var_a, var_b = var_a + 0.5 * both_zero, var_b + 0.5 * both_zero
    share = var_a / (var_a + var_b)
    mix = share * ssim_map(triple, "a", flat_rule) + (1 - share) * ssim_map(triple, "b", flat_rule)
    return mix, np.maximum(var_a, var_b)


def _q_s(triple: Triple, flat_rule: bool) -> float:
    return float(_salience_mix(triple, flat_rule)[0].mean())


def _q_w(triple: Triple, flat_rule: bool) -> float:
    mix, salience = _salience_mix(triple, flat_rule)
    return float((salience * mix).sum() / salience.sum())


def q_s(triple: Triple) -> float:
    """Q_S: mean local similarity of F to the locally more varied source."""
    return _q_s(triple, flat_rule=True)


def q_s_plain(triple: Triple) -> float:
    """Q_S without the flat-window rule."""
    return _q_s(triple, flat_rule=False)


def q_w_liu(triple: Triple) -> float:
    """Q_W of Piella's paper: as Q_S, windows weighted by their variance."""
    return _q_w(triple, flat_rule=True)


def q_w_liu_plain(triple: Triple) -> float:
    """Q_W of Piella's paper without the flat-window rule."""
    return _q_w(triple, flat_rule=False)


def prewitt(image: np.ndarray) -> np.ndarray:
    """Prewitt gradient magnitude, zeros outside the image, unscaled (up to about 1000)."""
    step, bar = np.array([1.0, 0.0, -1.0]), np.ones(3)
    across = cv2.sepFilter2D(image, cv2.CV_64F, step, bar, borderType=cv2.BORDER_CONSTANT)
    down = cv2.sepFilter2D(image, cv2.CV_64F, bar, step, borderType=cv2.BORDER_CONSTANT)
    return np.sqrt(across * across + down * down)


@shared
def edge_images(triple: Triple) -> Triple:
    """The triple's Prewitt gradient magnitudes."""
    return triple.map(prewitt)


def q_w(triple: Triple) -> float:
    """Q_W of VIFB's sister MEFB: Piella's Q_W on gradient images (the edge factor of Q_E)."""
    return _q_w(edge_images(triple), flat_rule=True)


def q_w_plain(triple: Triple) -> float:
    """Q_W of MEFB without the flat-window rule."""
    return _q_w(edge_images(triple), flat_rule=False)


def q_e(triple: Triple) -> float:
    """Q_E: Piella's Q_W on the images times that on their gradient images."""
    return q_w_liu(triple) * q_w(triple)


@shared
def _bare_similarity(triple: Triple, x: str, y: str, flat_rule: bool) -> np.ndarray:
    return similarity(triple, x, y, GAUSS7, NO_CONSTANTS, flat_rule)


def _q_y(triple: Triple, flat_rule: bool, drop_undefined: bool) -> float:
    var_a, var_b = (covariance(triple, x, x, GAUSS7, flat_rule) for x in ("a", "b"))
    share = var_a / (var_a + var_b)
    kept_a, kept_b = (_bare_similarity(triple, x, "f", flat_rule) for x in ("a", "b"))
    agree = _bare_similarity(triple, "a", "b", flat_rule) >= AGREEMENT
    value = np.where(agree, share * kept_a + (1 - share) * kept_b, np.maximum(kept_a, kept_b))
    if drop_undefined:
        value = value[~np.isnan(share)]
    return float(value.mean()) if value.size else np.nan


def q_y(triple: Triple) -> float:
    """Q_Y (Yang): weighted similarity where the sources agree, the better one where they do not."""
    return _q_y(triple, flat_rule=True, drop_undefined=True)


def q_y_plain(triple: Triple) -> float:
    """Q_Y of MEFB without the flat-window rule."""
    return _q_y(triple, flat_rule=False, drop_undefined=True)


def q_y_liu(triple: Triple) -> float:
    """Q_Y of Liu: no flat-window rule; one undefined window makes it NaN."""
    return _q_y(triple, flat_rule=False, drop_undefined=False)


def _q_c(triple: Triple, flat_rule: bool, drop_undefined: bool) -> float:
    cov_a, cov_b = (covariance(triple, x, "f", GAUSS7, flat_rule) for x in ("a", "b"))
    share = cov_a / (cov_a + cov_b)
    kept_a, kept_b = (_bare_similarity(triple, x, "f", flat_rule) for x in ("a", "b"))
    value = share * kept_a + (1 - share) * kept_b
    value = np.where(share < 0, 0.0, np.where(share > 1, 1.0, value))
    if drop_undefined:
        value = value[~np.isnan(value)]
    return float(value.mean()) if value.size else np.nan


def q_c(triple: Triple) -> float:
    """Q_C (Cvejic): similarity to the sources weighted by their covariance with F."""
    return _q_c(triple, flat_rule=True, drop_undefined=True)


def q_c_plain(triple: Triple) -> float:
    """Q_C of MEFB without the flat-window rule."""
    return _q_c(triple, flat_rule=False, drop_undefined=True)


def q_c_liu(triple: Triple) -> float:
    """Q_C of Liu: no flat-window rule; one undefined window makes it NaN."""
    return _q_c(triple, flat_rule=False, drop_undefined=False)
