"""A validation scores the fused picture, with the network it is given, on every pair that can be fused."""

import math
from itertools import cycle
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from option.schema import Options
from utils.engine.validation import pair_validation
from utils.errors import UserError
from utils.pictures.pairs import PairList

VALUES = {"first": 10, "second": 20, "fused": 30}


def flat(value: int) -> np.ndarray:
    return np.full((16, 16, 3), value, np.uint8)


def build(tmp_path, stems: list[str]):
    """The validation of pairs of flat pictures; a stem of a broken pair begins with x. The model is the shift."""
    def load(paths, ir_range, task):
        if paths.startswith("x"):
            raise UserError(f"{paths} is broken")
        first, second = (SimpleNamespace(pixels=flat(VALUES[name])) for name in ("first", "second"))
        return SimpleNamespace(stem=paths, first=first, second=second)

    def fuser(model, **settings):
        return lambda first, second, task: SimpleNamespace(
            fused=flat(VALUES["fused"] + model), common=None, unique1=None, unique2=None)

    defined = cycle([math.nan, 7.0])

    def score(names, first, second, fused):
        return {"first": float(first.mean()), "second": float(second.mean()), "fused": float(fused.mean()),
                "undefined": math.nan, "sometimes": next(defined)}

    options = Options(name="run_IVF", dataset={"val": {"dataroot": str(tmp_path)}})
    make = pair_validation(find=lambda val, name: PairList(stems), load=load, fuser=fuser, score=score)
    return make(options, 0, tmp_path)


def test_the_fused_picture_of_the_given_network_is_scored(tmp_path):
    validate = build(tmp_path, ["a", "xb", "c"])
    for step, model in ((3, 0), (4, 5)):
        scores = validate(step, model)
        assert math.isnan(scores.pop("undefined"))
        assert scores == {"first": 10, "second": 20, "fused": 30 + model, "sometimes": 7}
        sheet = cv2.imread(str(tmp_path / "validation" / f"step-{step:08d}.png"))
        assert (sheet == 30 + model).all(-1).any() and (sheet == 10).all(-1).any()


def test_no_usable_pair_is_an_error(tmp_path):
    with pytest.raises(UserError, match="none of the validation pairs could be fused"):
        build(tmp_path, ["xa"])(1, 0)
