"""Sections for data: `dataset.train`, `dataset.val`, `dataset.test`, `synthesis`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AliasChoices, Field, field_validator, model_validator

from option.fields import Number, PathText, Section, Whole, published

ValueRange = Literal["full", "minmax", "percentile"]
RawLook = Literal["camera", "linear"]
_RANGE = ("how stored values become [0, 1]: full (255 or 65535 is 1), minmax (least to greatest value) or percentile "
          "(0.5 to 99.5); floats and signed integers need one of the last two")
_IR_RANGE = "range for infrared pictures only (CT with ct/mr); when not given, range applies"
_RANGE_JOINT = ("one map for all pictures of a scene (true), or one for each picture (false); when not given, one for "
                "exposures and focus series, one each for infrared and visible")
_LABELS = ("downstream: sub-folder of the labels, named as the pictures: class ids in pictures of one channel, or "
           "boxes in YOLO's .txt or VOC's .xml")
_PICTURES = ("downstream, input picture: folder of the pictures to see, named as the labels or <stem>_recover; not "
             "given: the visible ones")
_RAW = ("how raw files of cameras are developed: camera (curve of sRGB) or linear (proportional to the light); both "
        "with the camera's white balance, 16 bits")
_MEGAPIXELS = "largest accepted picture, in millions of pixels; larger ones are rejected before decoding"


class TrainDataOptions(Section):
    """The training set: photographs (stage 1), photographs and registered pairs (stage 2)."""

    name: str = published("train", "label of the set")
    type: str = Field("photos", description="registered data set: photos, infrared (single pictures, "
                                             "for a MAE), webdataset or one of your own")
    arguments: dict[str, Any] = Field({}, description="keywords for a data set of your own; it checks them")
    dataroot: PathText | None = Field(None, description="folder of photographs, searched recursively, or tar "
                                                        "shards such as shards/{000..127}.tar")
    train_name: PathText | None = Field(None, description="sub-folder of the photographs to use")
    trainpairs: PathText | None = Field(None, description="list of the drawn photographs, one relative path a "
                                        "line; read when it exists, otherwise drawn and kept with the run")
    extra_data: PathText | None = Field(None, description="second folder of photographs to draw from")
    filter: str | None = Field(None, description="pattern such as *.jpg that a photograph's relative path must "
                                                 "match")
    samples: Whole = Field(50_000, ge=1, description="photographs drawn once by the seed; all if there are fewer")
    batch_size: Whole = Field(16, ge=1, description="photographs (and in stage 2 as many pairs) a step and device")
    image_size: Whole = Field(224, ge=32, multiple_of=16, description="side of the training crop in pixels")
    workers: Whole = Field(4, ge=0, description="processes that decode; 0 decodes in the main process")
    cache: Literal["none", "ram", "device"] = Field("none", description="where to keep the decoded set: nowhere, "
                                                                        "in memory or on the device")
    cache_size: Whole = Field(256, ge=32, description="photographs are kept with this short side (never enlarged)")

    member_megabytes: Number = Field(512, gt=0, description="shards: larger members are skipped with a warning")
    allow_programs: bool = Field(False, description="shards: read URLs that start a program (pipe:, http:, s3:, ...); "
                                 "only on the command line, --set dataset.train.allow_programs=true")

    noise_dataroot: PathText | None = Field(None, description="stage 2: folder of photographs (published name)")
    noise_trainpairs: PathText | None = Field(None, description="stage 2: list of the drawn photographs")
    irvis_dataroot: PathText | None = Field(None, description="stage 2, or a head: folder that holds both picture "
                                                              "folders of the registered pairs")
    infrare_name: PathText | None = Field(None, description="stage 2: infrared sub-folder (first modality)")
    visible_name: PathText | None = Field(None, description="stage 2: visible sub-folder (second modality)")
    irvis_trainpairs: PathText | None = Field(None, description="stage 2: list of the pairs to use, one stem a line")
    ctmr_dataroot: PathText | None = Field(None, description="stage 2 with modalities ct/mr: folder of the pairs")
    ct_name: PathText | None = Field(None, description="stage 2 with modalities ct/mr: CT sub-folder")
    mr_name: PathText | None = Field(None, description="stage 2 with modalities ct/mr: MR sub-folder")
    ctmr_trainpairs: PathText | None = Field(None, description="stage 2 with modalities ct/mr: list of the pairs")
    modalities: Literal["ir/vi", "ct/mr"] = Field("ir/vi", description="stage 2: what the pairs show; ct/mr reads "
                                                  "the ctmr keys when ctmr_dataroot is given, else the same keys")
    label_name: PathText | None = Field(None, description=_LABELS)
    picture_root: PathText | None = Field(None, description=_PICTURES)
    range: ValueRange = Field("full", description=_RANGE)
    ir_range: ValueRange | None = Field(None, description=_IR_RANGE)
    range_joint: bool | None = Field(None, description=_RANGE_JOINT)
    raw: RawLook = Field("camera", description=_RAW)
    max_megapixels: Number = Field(250, gt=0, description=_MEGAPIXELS)

    max_iter: Whole | None = published()
    iter_size: Whole | None = published()
    debug: bool | None = published()

    @property
    def photo_root(self) -> str | None:
        """Folder of the photographs, given under either name."""
        return self.dataroot or self.noise_dataroot

    @property
    def photo_list(self) -> str | None:
        """List of the drawn photographs, given under either name."""
        return self.trainpairs or self.noise_trainpairs

    @property
    def names_pairs(self) -> bool:
        """Whether a folder of registered pairs is given."""
        return self.pair_folders[0] is not None

    @property
    def pair_folders(self) -> tuple[str | None, str | None, str | None, str | None]:
        """Root, first sub-folder, second sub-folder and list of the stage 2 pairs."""
        if self.modalities == "ct/mr" and self.ctmr_dataroot:
            return self.ctmr_dataroot, self.ct_name, self.mr_name, self.ctmr_trainpairs
        return self.irvis_dataroot, self.infrare_name, self.visible_name, self.irvis_trainpairs


class PairDataOptions(Section):
    """Real pairs to fuse, in the published folder layouts."""

    name: str = published("test", "label of the set")
    dataroot: PathText = Field(description="folder of the data set")
    datashell: Literal["IVF", "MEF", "MFF"] | None = Field(
        None, description="layout: IVF (two folders), MEF or MFF (one folder per scene); when not given, taken from "
        "the run's name: MultiFocusFusion, MultiExposureFusion or MEF, VisibleInfrareFusion")
    infrare_name: PathText | None = Field(None, description="IVF: infrared sub-folder")
    visible_name: PathText | None = Field(None, description="IVF: visible sub-folder")
    part_name: PathText | None = Field(None, description="MEF, MFF: sub-folder that holds the scenes")
    input_name: PathText | None = Field(None, description="MEF, MFF: part_name under its name in training files")
    img_size: Whole | None = Field(
        None, validation_alias=AliasChoices("img_size", "image_size"), json_schema_extra={"no_effect": True},
        description="published key without effect: pictures keep their size")
    batch_size: Whole = Field(1, ge=1, description="published key without effect: pairs are fused one at a time")
    workers: Whole = Field(1, ge=0, description="processes that read pictures and compute metrics")
    label_name: PathText | None = Field(None, description=_LABELS)
    picture_root: PathText | None = Field(None, description=_PICTURES)
    pairs: PathText | None = Field(None, description="downstream: list of the scenes to use, one stem a line")
    range: ValueRange = Field("full", description=_RANGE)
    ir_range: ValueRange | None = Field(None, description=_IR_RANGE)
    range_joint: bool | None = Field(None, description=_RANGE_JOINT)
    raw: RawLook = Field("camera", description=_RAW)
    max_megapixels: Number = Field(250, gt=0, description=_MEGAPIXELS)

    @property
    def whole_stacks(self) -> bool:
        """Whether all pictures of a scene are fused instead of two."""
        return False

    @property
    def scene_folder(self) -> str | None:
        """Sub-folder of the scenes, given under either name."""
        return self.part_name or self.input_name

    @model_validator(mode="after")
    def _one_scene_folder(self) -> PairDataOptions:
        if self.part_name and self.input_name and self.part_name != self.input_name:
            raise ValueError(f"part_name {self.part_name!r} and input_name {self.input_name!r} are two names of "
                             "one key; keep one")
        return self


class ValDataOptions(PairDataOptions):
    """Pairs that are fused and scored every `train.val_freq` epochs."""

    name: str = published("val", "label of the set")


class TestDataOptions(PairDataOptions):
    """Pairs that `test.py` fuses."""

    __test__ = False  # keeps pytest from collecting this class

    stack: Literal["extremes", "all"] = Field(
        "extremes", description="MEF, MFF scenes of more than two pictures: extremes fuses the brightest and the "
        "darkest, or the first and the last by name; all fuses every picture, and such a scene is not scored")

    @property
    def whole_stacks(self) -> bool:
        return self.stack == "all"

    align: Literal["none", "auto", "translation", "affine", "homography"] = Field(
        "none", description="how the first picture may lie in the second: none (as they lie), auto (shift, turn and "
        "scale, or less where less explains as much), translation, affine or homography; see docs/ALIGNMENT.md")
    align_margin: Literal["crop", "fill"] = Field(
        "crop", description="aligned pictures are cut to what both show (crop), or keep the size of the reference, "
        "which stands in where the other shows nothing (fill)")
    align_map: PathText | None = Field(None, description="alignment of a fixed rig, applied to all pairs; made by "
                                       "`defusionpp fuse --align auto --align-map FILE`")
    resize: Literal["error", "first", "second"] = Field(
        "error", description="pictures of different sizes are refused (error), or take the grid of the first or second "
        "picture; without align both are taken to show the same field")


class DatasetOptions(Section):
    """Data sets; each script needs only those that it uses."""

    train: TrainDataOptions | None = Field(None, description="training set")
    val: ValDataOptions | None = Field(None, description="pairs for validation while training")
    test: TestDataOptions | None = Field(None, description="pairs to fuse")


class SynthesisOptions(Section):
    """How one photograph is damaged into a training pair."""

    scenarios: dict[str, Number] = Field({"noise": 1.0}, description="registered damages and their shares of the "
                                         "training pairs; noise alone is the published method")
    pictures: Whole = Field(2, ge=2, le=9, description="most pictures a sample of the damages defocus and bracket; "
                            "each batch draws a number from 2 to this; above 2 for the full-resolution head alone")

    @field_validator("scenarios")
    @classmethod
    def _shares(cls, scenarios: dict[str, float]) -> dict[str, float]:
        negative = [name for name, share in scenarios.items() if share < 0]
        if negative or not sum(scenarios.values()) > 0:
            raise ValueError(f"shares should be 0 or more and not all 0, got {scenarios}")
        return scenarios
