"""The section `downstream`: another task with pictures or features of pairs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from option.fields import Number, PathText, Section, Whole

MSRS_CLASSES = ("unlabelled", "car", "person", "bike", "curve", "car stop", "guardrail", "color cone", "bump")


class RowOptions(Section):
    """One row of a comparison: what differs from the option file, and where its pictures come from."""

    fuse: str | None = Field(None, description="fuse the pairs by these weights (name or file) or this registered "
                             "model without weights, and use the fused pictures")
    pictures: PathText | None = Field(None, description="infrared for those of the set, or a folder with pictures in "
                                     "train/ and test/, named as the labels")
    options: dict[str, Any] = Field({}, description="keys of the option file with other values, such as "
                                    "downstream.input: early")

    @model_validator(mode="after")
    def _one_source(self) -> RowOptions:
        if self.fuse and self.pictures:
            raise ValueError("fuse and pictures are two sources of one row's pictures; keep one")
        return self


class CompareOptions(Section):
    """A table of methods, each trained and scored with several seeds (`python -m downstream.compare`)."""

    rows: dict[str, RowOptions] = Field({}, description="rows by name; a row without keys is that of the option file")
    seeds: tuple[Whole, ...] = Field((1, 2, 3, 4, 5), min_length=1, description="seeds (train.manual_seed) of each "
                                     "row; all rows are run with a seed before the next seed")
    baseline: str | None = Field(None, description="row to compare the others with; not given: the first")
    parts: dict[str, str] = Field({}, description="groups of test pictures that are also scored apart, by a pattern "
                                  "for their stems, such as night: '*N'")
    resamples: Whole = Field(2000, ge=100, description="bootstrap samples of the test pictures")
    note: str | None = Field(None, description="a remark on the data, shown on top of the report")
    shown: Whole = Field(8, ge=0, description="test pictures shown in the report, those worst on average")

    @model_validator(mode="after")
    def _known_baseline(self) -> CompareOptions:
        if self.baseline is not None and self.baseline not in self.rows:
            raise ValueError(f"baseline {self.baseline!r} is none of the rows {', '.join(self.rows) or '(none)'}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds should differ, got {list(self.seeds)}")
        return self


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
    freeze_norms: bool = Field(False, description="picture, early, late: batch norms of the backbone keep their "
                               "statistics, so that small batches train well")
    head_rate: Number = Field(1.0, gt=0, description="learning rate of the head as a multiple of train.lr, which the "
                              "backbone or the model has")
    class_weights: tuple[Number, ...] | None = Field(None, description="segmentation: weight of each class in the "
                                                     "loss; not given: 1 each")
    freeze: bool = Field(False, description="features: the weights of model stay as they are")
    compare: CompareOptions = Field(CompareOptions(), description="a table of methods")

    @field_validator("classes")
    @classmethod
    def _different(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if not 1 <= len(classes) <= 255 or len(set(classes)) < len(classes):
            raise ValueError(f"should be 1 to 255 different names, got {list(classes)}")
        return classes

    @model_validator(mode="after")
    def _weight_each(self) -> DownstreamOptions:
        weights = self.class_weights
        if weights is not None and (len(weights) != len(self.classes) or min(weights) < 0 or not sum(weights)):
            raise ValueError(f"class_weights should be {len(self.classes)} numbers, 0 or more and not all 0, one for "
                             f"each class, got {list(weights)}")
        return self
