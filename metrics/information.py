"""Information in grey levels: entropy, mutual information and related metrics.

All are functions of single and joint histograms; positions do not matter.
"""

import numpy as np

from .triple import Triple, shared, stretched

LN2 = float(np.log(2))
TSALLIS_ORDER = 1.85
TSALLIS_ORDER_LIU = 0.43137


@shared
def histogram(triple: Triple, x: str) -> np.ndarray:
    """Share of pixels at each of the 256 levels."""
    return np.bincount(triple.levels(x).ravel(), minlength=256) / triple.size


@shared
def joint_histogram(triple: Triple, x: str, y: str) -> np.ndarray:
    """(256, 256) share of pixels with level i in image ``x`` (row) and level j in image ``y`` (column)."""
    code = triple.levels(x).astype(np.int32) * 256 + triple.levels(y)
    return np.bincount(code.ravel(), minlength=65536).reshape(256, 256) / triple.size


def _bits(shares: np.ndarray) -> float:
    filled = shares[shares > 0]
    return float(-np.sum(filled * np.log2(filled)))


@shared
def entropy(triple: Triple, x: str) -> float:
    """Entropy of one image's levels, bits."""
    return _bits(histogram(triple, x))


@shared
def information(triple: Triple, x: str, y: str) -> float:
    """Mutual information of two images' levels, bits."""
    return entropy(triple, x) + entropy(triple, y) - _bits(joint_histogram(triple, x, y))


def en(triple: Triple) -> float:
    """EN: entropy of the fused image, bits."""
    return entropy(triple, "f")


def mi_bits(triple: Triple) -> float:
    """MI in bits: I(A, F) + I(B, F)."""
    return information(triple, "a", "f") + information(triple, "b", "f")


def mi(triple: Triple) -> float:
    """MI in nats. (VIFB stretches the images first, which only relabels levels and has no effect.)"""
    return mi_bits(triple) * LN2


def mi_bits_tang(triple: Triple) -> float:
    """MI in bits with levels 254 and 255 merged in the joint histograms, not in the single ones (Tang's slip)."""
    total = 2 * entropy(triple, "f")
    for x in ("a", "b"):
        joint = joint_histogram(triple, x, "f").copy()
        joint[254] += joint[255]
        joint[:, 254] += joint[:, 255]
        total += entropy(triple, x) - _bits(joint[:255, :255])
    return total


def ce(triple: Triple) -> float:
    """CE: mean of the relative entropies D(A, F) and D(B, F), bits, over levels present in both images."""
    fused = histogram(triple, "f")
    total = 0.0
    for x in ("a", "b"):
        source = histogram(triple, x)
        both = (source > 0) & (fused > 0)
        total += float(np.sum(source[both] * np.log2(source[both] / fused[both])))
    return total / 2


def _stretch_defined(triple: Triple) -> bool:
    """Whether the stretch to 0..255 exists: no image is constant at a level other than 0."""
    return not any(np.isnan(stretched(triple)[x][0, 0]) for x in ("a", "b", "f"))


def q_mi(triple: Triple) -> float:
    """Q_MI (Hossny): mutual information normalised by the entropies. NaN for constant non-zero images."""
    if not _stretch_defined(triple):
        return np.nan
    total = 0.0
    for x in ("a", "b"):
        entropies = entropy(triple, x) + entropy(triple, "f")
        total += 2 * information(triple, x, "f") / entropies if entropies > 0 else np.nan
    return total


def _tsallis(triple: Triple, x: str, y: str, order: float, swapped: bool) -> float:
    """Tsallis mutual information of images x (rows) and y (columns) of an already stretched triple."""
    joint = joint_histogram(triple, x, y)
    rows, columns = histogram(triple, x), histogram(triple, y)
    if swapped:
        rows, columns = columns, rows
    outer = np.outer(rows, columns)
    filled = (outer > 0) & (joint > 0)
    terms = joint[filled] ** order / outer[filled] ** (order - 1)
    return float((1 - terms.sum()) / (1 - order))


def _q_te(triple: Triple, swapped: bool) -> float:
    if not _stretch_defined(triple):
        return np.nan
    spread = stretched(triple)
    return sum(_tsallis(spread, x, "f", TSALLIS_ORDER, swapped) for x in ("a", "b"))


def q_te(triple: Triple) -> float:
    """Q_TE: Tsallis mutual information, order 1.85, with the toolboxes' swapped marginals (see the docs)."""
    return _q_te(triple, swapped=True)


def q_te_textbook(triple: Triple) -> float:
    """Q_TE with the marginals where the formula has them. No toolbox computes this."""
    return _q_te(triple, swapped=False)


def q_te_liu(triple: Triple) -> float:
    """Q_TE as Liu's driver calls it: order 0.43137, divided by powers of the entropies plus I_q(A, B)."""
    if not _stretch_defined(triple):
        return np.nan
    spread, order = stretched(triple), TSALLIS_ORDER_LIU
    upper = sum(_tsallis(spread, x, "f", order, True) for x in ("a", "b"))
    lower = entropy(triple, "a") ** order + entropy(triple, "b") ** order
    lower += _tsallis(spread, "a", "b", order, True)
    return upper / lower if lower != 0 else np.nan


def q_ncie(triple: Triple) -> float:
    """Q_NCIE: nonlinear correlation of A, B and F together, from the eigenvalues of their information matrix."""
    if not _stretch_defined(triple):
        return np.nan
    matrix = np.eye(3)
    for i, j, x, y in ((0, 1, "a", "b"), (0, 2, "a", "f"), (1, 2, "b", "f")):
        matrix[i, j] = matrix[j, i] = information(triple, x, y) / 8
    shares = np.linalg.eigvalsh(matrix) / 3
    shares = shares[shares > 0]
    return float(1 + np.sum(shares * np.log2(shares)) / 8)
