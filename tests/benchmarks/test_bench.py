"""The bench counts arithmetic right, measures every kind of row, and its table and comparison say what was measured."""

import argparse

import pytest
import torch

from benchmarks import bench, fusing, table, training
from benchmarks.ceiling import Ceiling, device_name
from benchmarks.measure import Laps, count_gflop, repeat
from models.defusion import DeFusionPP
from utils.errors import UserError

CPU = torch.device("cpu")


def result(rate: float = 8.0, name: str = "training, bfloat16, batch 16") -> dict:
    row = {"name": name, "unit": "images", "items": 16, "seconds": 16 / rate, "median": 16 / rate, "repeats": 3,
           "gflop": 100.0, "dtype": "bfloat16", "memory": 10**9, "free": 0.5, "split": {"forward": 1.0, "loss": 3.0},
           "note": "", "rate": rate, "gflops": 100 * rate / 16}
    literal = row | {"name": "training, literal, float32, batch 16", "rate": 2.0, "gflops": 12.5, "dtype": "float32"}
    limits = Ceiling("A processor", 2, {"float32": 200.0, "bfloat16": 400.0}, {"float32": 100.0, "bfloat16": 100.0}, 9)
    return {"machine": "PyTorch 2", "ceiling": limits.to_json(), "rows": [row, literal]}


def test_table_shows_rates_fractions_and_ratios():
    text = table.render(result())
    assert "A processor" in text and "| 8 images |" in text
    assert "| 50 | 12 % | 50 % | 1.00 | 0.50 | forward 25 %, loss 75 % |" in text
    assert "training, bfloat16, batch 16: 4.00 times the literal version" in text
    assert "shared the processor" in text


def test_comparison_gives_ratios_and_names_what_is_missing():
    text = table.compare(result(rate=12.0), result(rate=8.0))
    assert "| training, bfloat16, batch 16 | 8 | 12 | x 1.50 | x 1.00 |" in text
    assert "ANOTHER DEVICE" not in text
    other = result(name="training, compiled, bfloat16, batch 16")
    other["ceiling"]["name"] = "Another processor"
    text = table.compare(result(), other)
    assert "ANOTHER DEVICE: Another processor" in text and "new" in text and "not measured" in text


def test_a_saved_run_is_read_again_and_a_wrong_file_is_a_users_mistake(tmp_path):
    table.save(result(), tmp_path / "run.json")
    assert table.load(tmp_path / "run.json") == result()
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(UserError, match="not the JSON"):
        table.load(tmp_path / "other.json")
    with pytest.raises(UserError, match="no such file"):
        table.load(tmp_path / "missing.json")


def test_arithmetic_is_counted_as_the_method_needs_it():
    linear = torch.nn.Linear(8, 16)
    assert count_gflop(lambda: linear(torch.rand(4, 8))) == pytest.approx(2e-9 * 4 * 8 * 16)
    q = torch.rand(1, 2, 5, 4)
    assert count_gflop(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q)) == pytest.approx(
        2 * 2e-9 * 2 * 5 * 5 * 4)


@pytest.mark.slow
def test_a_step_of_the_published_network_has_the_known_arithmetic():
    """About 33 GFLOP a pair as published; merged projections and values that are computed once save a tenth."""
    assert 0.88 * 33 < training._step_gflop(DeFusionPP(), 16) / 16 < 33


def test_repeats_keep_to_the_budget_and_split_the_fastest():
    def work(laps: Laps) -> None:
        laps.lap("data")
        laps.lap("forward")

    timing = repeat(work, CPU, budget=10, most=3)
    assert len(timing.seconds) == 3 and set(timing.fields()["split"]) == {"data", "forward"}
    assert len(repeat(work, CPU, budget=0).seconds) == 1


def test_every_training_row_can_be_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SIZE", 32)
    monkeypatch.setattr(training, "WORKERS", 0)
    monkeypatch.setattr(training, "DeFusionPP", lambda: DeFusionPP(embed_dim=48, depth=2, num_heads=3, last_heads=6))
    folder = training.write_photographs(tmp_path / "photographs", 4)
    for row in (training.measure_ours(folder, CPU, batch=2, amp="bf16", compiled=False, budget=0),
                training.measure_naive(folder, CPU, batch=2, budget=0)):
        assert row.gflop > 0 and row.rate > 0 and row.memory > 0
        assert {"data", "forward", "loss", "backward", "optimiser"} <= set(row.split)


def test_both_ways_of_fusing_can_be_measured():
    ours = fusing.measure_fusing(CPU, model="DeFusionPP", width=48, height=32, amp="off", budget=0)
    literal = fusing.measure_naive_fusing(CPU, width=48, height=32, budget=0)
    assert ours.note == literal.note == "1 windows"
    assert min(ours.gflop, literal.gflop) > 0.5


def test_plan_covers_the_sizes_that_matter(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "write_photographs", lambda folder, count: folder)
    arguments = bench.parse([])
    labels = [label for label, _ in bench.plan(arguments, CPU, tmp_path, budget=1)]
    assert {"training", "training literal", "fusing literal", "fusing 3840 x 2160", "training batch 32"} <= set(labels)
    quick = argparse.Namespace(**vars(arguments) | {"quick": True})
    assert len(list(bench.plan(quick, CPU, tmp_path, budget=1))) == 4


def test_the_device_has_a_name():
    assert device_name(CPU)
