"""All keys of an option file with their types, defaults, ranges and meanings.

`docs/OPTIONS.md` is generated from these classes (`python -m option.document`).
"""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from option.errors import OptionError
from option.fields import Section, Whole, published
from option.sections_data import (
    DatasetOptions,
    PairDataOptions,
    SynthesisOptions,
    TestDataOptions,
    TrainDataOptions,
    ValDataOptions,
)
from option.sections_downstream import CompareOptions, DownstreamOptions, RowOptions
from option.sections_train import LoggerOptions, MaeOptions, PathOptions, TeacherOptions, TrainOptions

__all__ = [
    "CompareOptions", "DatasetOptions", "DownstreamOptions", "LoggerOptions", "MaeOptions", "NetworkOptions",
    "Options", "PairDataOptions", "PathOptions", "RowOptions", "SaveOptions", "SynthesisOptions",
    "TeacherOptions", "TestDataOptions", "TileOptions", "TrainDataOptions", "TrainOptions",
    "ValDataOptions",
]


class NetworkOptions(Section):
    """Keywords of the network. Any key is accepted here and checked against the signature of the registered model."""

    model_config = ConfigDict(extra="allow")

    in_nc: Whole | None = published()
    block_num: Whole | None = published()
    init: str | None = published()
    hidden_channels: Whole | None = published()
    K: Whole | None = published()

    def arguments(self) -> dict[str, Any]:
        """Keywords for the model: all keys except the published ones without effect."""
        return dict(self.model_extra or {})


class TileOptions(Section):
    """Windows for large pictures."""

    size: Whole = Field(224, ge=32, multiple_of=16, description="side of a window in pixels")
    overlap: Whole = Field(64, ge=0, description="smallest overlap of neighbouring windows in pixels")
    batch: Whole = Field(16, ge=1, description="windows in one forward pass (bounds the memory)")

    @model_validator(mode="after")
    def _overlap_inside(self) -> TileOptions:
        if self.overlap >= self.size:
            raise ValueError(f"overlap {self.overlap} should be smaller than size {self.size}")
        return self


class SaveOptions(Section):
    """What `test.py` writes in addition to the fused pictures."""

    components: bool = Field(True, description="common and unique parts of each pair")
    inputs: bool = Field(True, description="copies of the two inputs of each pair")
    contact_sheet: bool = Field(True, description="one overview picture of the data set")
    report: bool = Field(False, description="HTML and Markdown report of the metrics, with pictures")


# File systems allow 255 bytes, and suffixes such as _archived_241231-235959 are appended to the name.
_LONGEST_NAME = 200


def _metric_names(value: Any) -> Any:
    if isinstance(value, str):
        if value in ("common", "all", "none"):
            return value
        return tuple(name.strip() for name in value.split(",") if name.strip())
    if isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise ValueError(f"should be common, all, none or a list of metric names, got {value!r}")


def _run_name(name: str) -> str:
    if not name.strip() or name in (".", "..") or re.search(r"[/\\\x00]", name):
        raise ValueError(f"should be the name of a folder, without slashes, got {name!r}")
    size = len(os.fsencode(name))
    if size > _LONGEST_NAME:
        raise ValueError(f"should be the name of a folder, {_LONGEST_NAME} bytes or less, got {size}")
    return name


def _device_name(device: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d+)?", device):
        raise ValueError(f"should be auto, cpu, cuda, cuda:1, mps or xpu, got {device!r}")
    return device


RunName = Annotated[str, AfterValidator(_run_name)]
DeviceName = Annotated[str, AfterValidator(_device_name)]
MetricNames = Annotated[tuple[str, ...] | str, BeforeValidator(_metric_names)]


class Options(Section):
    """A complete option file."""

    name: RunName = Field(description="name of the run and of its folder")
    model: str = Field("DeFusionPP", description="registered model; FusionModel, UCMConv (stage 1) and "
                                                 "MUCMTransformer (stage 2) are published names; testing: taken from "
                                                 "the weights when not given, if they name one")
    device: DeviceName = Field("auto", description="auto, cpu, cuda, cuda:1, mps or xpu")
    use_tb_logger: bool = Field(True, description="write TensorBoard scalars and pictures")
    color: Literal["ycbcr", "rgb", "gray"] | None = Field(None, description="what is fused: ycbcr (brightness; "
                                                          "colour from the visible image, of exposures and focus "
                                                          "pairs by its strength), rgb or gray; not given: ycbcr for "
                                                          "IVF, rgb for MEF and MFF")
    metrics: MetricNames = Field("common", description="common, all, none, or a list of metric names")
    dataset: DatasetOptions = Field(DatasetOptions(), description="pictures")
    network_G: NetworkOptions = Field(NetworkOptions(), description="the network's keywords")
    path: PathOptions = Field(PathOptions(), description="weights, runs, results")
    logger: LoggerOptions = Field(LoggerOptions(), description="log lines and checkpoints")
    train: TrainOptions = Field(TrainOptions(), description="training")
    synthesis: SynthesisOptions = Field(SynthesisOptions(), description="damage that makes training pairs")
    teachers: TeacherOptions = Field(TeacherOptions(), description="stage 2 teachers")
    mae: MaeOptions = Field(MaeOptions(), description="MAE pretraining")
    downstream: DownstreamOptions = Field(DownstreamOptions(), description="another task on pictures or features")
    tile: TileOptions = Field(TileOptions(), description="windows of large pictures")
    save: SaveOptions = Field(SaveOptions(), description="what is written in addition to the fused pictures")

    _source: str = PrivateAttr("options")
    _overridden: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _report_of_sources(self) -> Options:
        test = self.dataset.test
        if test and self.save.report and (test.align != "none" or test.align_map or test.resize != "error"):
            raise ValueError("save.report reads the sources as they lie; leave it out with dataset.test.align, "
                             "align_map or resize (metrics.csv has the numbers of the aligned pictures)")
        return self

    def at(self, key: str) -> str:
        """Where a key was set, as a prefix for messages: ``option/test/IVF.yaml: model``."""
        for given, flag in self._overridden.items():
            if key == given or key.startswith(given + "."):
                return f"{flag}: {key}"
        return f"{self._source}: {key}"

    def require(self, key: str) -> Any:
        """The value of a key that the script requires, such as ``dataset.test``.

        Raises:
            OptionError: the key has no value.
        """
        value: Any = self
        for name in key.split("."):
            value = None if value is None else getattr(value, name)
        if value is None:
            raise OptionError(f"{self.at(key)}: missing; this script needs it")
        return value

    def without_effect(self) -> list[str]:
        """The given keys that are accepted for compatibility with published files but have no effect."""
        return _without_effect(self)


def _without_effect(section: Section, prefix: str = "") -> list[str]:
    """Paths of the given keys that exist only for published files."""
    keys: list[str] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            keys += _without_effect(value, f"{prefix}{name}.")
        elif name in section.model_fields_set and value is not None and field.json_schema_extra:
            keys.append(prefix + name)
    return keys
