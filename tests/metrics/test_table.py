"""The table is complete and says what the documentation and the functions say."""

import inspect
import re
from pathlib import Path

import pytest

import metrics
from metrics import COMMON, METRICS

DOCS = Path(__file__).resolve().parents[2] / "docs" / "METRICS.md"
LOWER_IS_BETTER = {"CE", "MSE", "RMSE", "Nabf", "NABF1", "LABF", "Q_CV"}


def test_42_defaults_each_with_its_definition_in_full():
    defaults = {name: metric.key for name, metric in METRICS.items() if metric.is_default}
    assert len(defaults) == 42
    for name, key in defaults.items():
        assert METRICS[key].function is METRICS[name].function


def test_common_metrics_are_defaults():
    assert len(set(COMMON)) == 10
    assert all(METRICS[name].is_default for name in COMMON)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_row(metric):
    lower = metric.base in LOWER_IS_BETTER
    assert metric.better == ("lower" if lower else "nearest0" if metric.base == "Q_SF" else "higher")
    assert metric.low < metric.high and metric.min_side >= 1 and metric.says and metric.function.__doc__
    assert metric.cost in ("instant", "fast", "slow")
    assert set(metric.inputs) <= {"a", "b", "f", "t"}
    assert next(iter(inspect.signature(metric.function).parameters)) == "triple"


def test_every_definition_link_has_its_heading():
    headings = {h.strip().lower() for h in re.findall(r"^#+ (.+)$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)}
    wanted = {metric.definition.partition("#")[2] for metric in METRICS.values()}
    assert wanted <= headings


def test_every_name_is_documented():
    text = DOCS.read_text(encoding="utf-8")
    assert [name for name in METRICS if f"`{name}`" not in text] == []


def test_public_names():
    assert set(metrics.__all__) == {"COMMON", "METRICS", "Metric", "compute", "expand"}
