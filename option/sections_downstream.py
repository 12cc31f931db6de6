"""The section `downstream`: another task with pictures or features of pairs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from option.fields import Section, Whole

MSRS_CLASSES = ("unlabelled", "car", "person", "bike", "curve", "car stop", "guardrail", "color cone", "bump")


class DownstreamOptions(Section):
    """Segmentation or detection with fused pictures or fused features (`python -m downstream.train`)."""

    task: Literal["segmentation", "detection"] = Field("segmentation", description="segmentation: a class for each "
                                                       "pixel; detection: boxes of objects")
    input: Literal["picture", "early", "late", "features"] = Field(
        "picture", description="what the network sees. picture: the pictures of picture_root, with a backbone of "
        "ImageNet; early: infrared and visible as six channels; late: a backbone for each, their maps summed; "
        "features: those of model for the pair")
    classes: tuple[str, ...] = Field(MSRS_CLASSES, description="names of the classes 0, 1, ...; in segmentation "
                                     "class 0 is the background, and pixels labelled 255 do not count")
    width: Whole = Field(128, ge=8, multiple_of=8, description="channels of the head; in detection a "
                        "multiple of 32")
    short_side: Whole | None = Field(None, ge=32, description="pictures are shrunk to this short side, in training "
                                     "and when they are scored; scores are of the labels' own size")
    pretrained: bool = Field(True, description="picture, early, late: the backbone starts from ImageNet weights if "
                                               "the package that holds them is installed")
    freeze: bool = Field(False, description="features: the weights of model stay as they are")

    @field_validator("classes")
    @classmethod
    def _different(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if not 1 <= len(classes) <= 255 or len(set(classes)) < len(classes):
            raise ValueError(f"should be 1 to 255 different names, got {list(classes)}")
        return classes
