"""A run is the same run after any stop, and says why it stopped. In one process; faults that end it elsewhere."""

import contextlib
import json
import logging
import math

import pytest
import torch
from timm.optim import muon

from tests.utils.toy import BATCH, ITEMS, ToyLoader, ToyTask, losses, toy_options, train_toy
from utils.engine.batches import batch_size, map_tensors
from utils.engine.checkpoints import CheckpointFolder
from utils.engine.loop import Trainer
from utils.engine.optimisation import Schedule, build_optimizer
from utils.engine.state import Progress
from utils.engine.step import FiniteGuard, TrainingStopped
from utils.errors import UserError

STEPS = 6  # of an epoch


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon"])
def test_a_resumed_run_is_the_run_to_the_last_digit(tmp_path, optimizer):
    train_toy(tmp_path / "whole", ema=0.9, optimizer=optimizer)
    train_toy(tmp_path / "parts", ema=0.9, optimizer=optimizer, epoch=2)
    summary = train_toy(tmp_path / "parts", ema=0.9, optimizer=optimizer, resume="latest")
    assert summary.steps == 4 * STEPS and summary.images == 4 * ITEMS
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    whole, parts = (CheckpointFolder(tmp_path / name / "checkpoints").load("latest")[0] for name in ("whole", "parts"))
    assert parts["optimizers"][0]["param_groups"] == whole["optimizers"][0]["param_groups"]
    for part in (parts, whole):
        part["moments"] = part["optimizers"][0]["state"]
    for key in ("state_dict", "moments", "ema"):
        torch.testing.assert_close(parts[key], whole[key], rtol=0, atol=0)


def test_a_run_goes_on_in_the_middle_of_an_epoch_and_of_a_log_line(tmp_path):
    logger = {"print_freq": 4}
    train_toy(tmp_path / "whole", max_steps=20, logger=logger)
    train_toy(tmp_path / "parts", max_steps=9, logger=logger)
    train_toy(tmp_path / "parts", max_steps=20, logger=logger, resume="latest")
    whole, parts = losses(tmp_path / "whole"), losses(tmp_path / "parts")
    assert [step for step, _ in parts] == [4, 8, 9, 12, 16, 20]
    # Step 9 ended the first part with a line of its own, so that the next mean lacks it.
    assert [line for line in parts if line[0] in (4, 8, 16, 20)] == [line for line in whole if line[0] != 12]


@pytest.mark.parametrize("change", [{"loader": 16}, {"accumulate": 2}, {"loader": 4}])
def test_a_run_goes_on_at_the_same_image_with_another_batch_size_or_accumulation(tmp_path, change):
    change = dict(change)
    train_toy(tmp_path, max_steps=6 + 4, schedule="cosine")  # 32 of the second epoch's 44 images are seen
    batch = change.pop("loader", BATCH)
    summary = train_toy(tmp_path, loader=ToyLoader(batch), resume="latest", schedule="cosine", **change)
    size = batch * change.get("accumulate", 1)
    rest, epoch = math.ceil(12 / size), math.ceil(ITEMS / size)
    assert summary.steps == 10 + rest + 2 * epoch and summary.images == 4 * ITEMS
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    # The rate continues at the same place of the run, rounded to a step.
    resumed = next(line for line in lines if line["step"] == 11)
    place = 1 + round(epoch * 4 / 6) / epoch
    assert resumed["lr"] == pytest.approx(1e-2 * 0.5 * (1 + math.cos(math.pi * place / 4)))


def test_max_steps_ends_the_schedule_with_another_batch_size_as_well(tmp_path, caplog):
    train_toy(tmp_path, max_steps=9, schedule="cosine")
    with caplog.at_level(logging.INFO):
        train_toy(tmp_path, loader=ToyLoader(4), resume="latest", max_steps=20, schedule="cosine")
    # Step 9 of 8 images is at 1.5 epochs of 6 steps, or 17 of 11; 11 more steps make 28.
    assert "epoch 2, step 10 of 20" in caplog.text and "step 20 of 20" in caplog.text
    last = json.loads((tmp_path / "history.jsonl").read_text().splitlines()[-1])
    assert last["lr"] == pytest.approx(1e-2 * 0.5 * (1 + math.cos(math.pi * 27 / 28)))


def test_a_checkpoint_of_the_first_format_is_resumed_to_the_last_digit(tmp_path):
    train_toy(tmp_path / "whole", ema=0.9)
    train_toy(tmp_path / "parts", ema=0.9, max_steps=15)
    path = CheckpointFolder(tmp_path / "parts" / "checkpoints").newest()
    state = torch.load(path, weights_only=True)
    del state["steps_per_epoch"]
    state |= {"format": 1, "ema": {"steps": 15, "average": list(state["ema"].values())},
              "rng": {"generators": {}, "python": (3, (1, 2), None)}}
    torch.save(state, path)
    train_toy(tmp_path / "parts", ema=0.9, resume="latest")
    assert losses(tmp_path / "parts")[15:] == losses(tmp_path / "whole")[15:]
    whole, parts = (CheckpointFolder(tmp_path / name / "checkpoints").load("latest")[0] for name in ("whole", "parts"))
    torch.testing.assert_close(parts["ema"], whole["ema"], rtol=0, atol=0)


def test_a_run_with_a_decay_at_its_end_is_prolonged_from_before_it(tmp_path):
    def rates() -> dict[int, float]:
        lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
        return {line["step"]: line["lr"] for line in lines}

    wsd = {"schedule": "wsd", "decay_share": 0.25, "warmup_epochs": 0.5}
    train_toy(tmp_path, **wsd)
    assert [rates()[step] for step in (2, 4, 19, 22, 24)] == pytest.approx([1e-2 / 3, 1e-2, 1e-2, 5e-3, 1e-2 / 6])
    before = next((tmp_path / "checkpoints").glob("*-epoch-0003.pt"))
    train_toy(tmp_path, resume=str(before), **{**wsd, "epoch": 8})
    assert [rates()[step] for step in (19, 24, 37, 43)] == pytest.approx([1e-2, 1e-2, 1e-2, 5e-3])


def test_several_batches_make_the_step_of_the_bigger_batch(tmp_path):
    train_toy(tmp_path / "big", task=ToyTask(noise=False), loader=ToyLoader(16), epoch=2)
    train_toy(tmp_path / "small", task=ToyTask(noise=False), loader=ToyLoader(8), accumulate=2, epoch=2)
    big, small = losses(tmp_path / "big"), losses(tmp_path / "small")
    assert len(big) == len(small) == 2 * math.ceil(ITEMS / 16)  # the last of each epoch is 8 + 4 samples
    torch.testing.assert_close(torch.tensor(small), torch.tensor(big), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("poison", "message"), [
    ("loss", "non-finite loss term far = nan, total_loss = nan at epoch 2, step 8;"),
    ("gradient", r"non-finite gradient norm \(all loss terms are finite\) at epoch 2, step 8;")])
@pytest.mark.parametrize("immediate", [True, False], ids=["at every step", "at log lines, as on a GPU"])
def test_non_finite_numbers_end_the_run_and_reach_no_checkpoint(tmp_path, poison, message, immediate):
    task = ToyTask()
    task.before = lambda call: setattr(task, "poison", poison if call == 8 else "")
    trainer = Trainer(task, ToyLoader(), options=toy_options(logger={"print_freq": 3}), run_dir=tmp_path,
                      device=torch.device("cpu"))
    trainer._stepper._guard.immediate = immediate
    with pytest.raises(TrainingStopped, match=message) as stopped:
        trainer.fit()
    assert str(stopped.value).count("last good checkpoint: ") == 1
    assert "step-00000006-epoch-0001.pt" in str(stopped.value)
    state, path = CheckpointFolder(tmp_path / "checkpoints").load("latest")
    assert path.name == "step-00000006-epoch-0001.pt"
    assert all(value.isfinite().all() for value in [*state["state_dict"].values(), *task.model.state_dict().values()])
    assert train_toy(tmp_path, resume="latest").steps == 4 * STEPS


def test_the_bad_step_leaves_the_weights_alone_until_it_is_noticed(tmp_path):
    task = ToyTask()
    seen = {}

    def before(call):
        task.poison = "gradient" if call == 8 else ""
        seen[call] = task.model[0].weight.detach().clone()

    task.before = before
    trainer = Trainer(task, ToyLoader(), options=toy_options(logger={"print_freq": 10}), run_dir=tmp_path,
                      device=torch.device("cpu"))
    trainer._stepper._guard.immediate = False
    with pytest.raises(TrainingStopped, match="step 8"):
        trainer.fit()
    assert len(seen) == 10  # two more steps were tried
    assert not torch.equal(seen[7], seen[8])
    assert torch.equal(seen[8], seen[9]) and torch.equal(seen[8], task.model[0].weight)


def test_a_lost_loader_worker_is_told_and_nothing_finished_is_lost(tmp_path):
    with pytest.raises(TrainingStopped, match=r"a data loader worker was lost .* at epoch 1, step (\d); last "
                                              r"good checkpoint: .*step-0000000\1.pt; resume with"):
        train_toy(tmp_path, loader=ToyLoader(workers=1))
    assert train_toy(tmp_path, resume="latest").steps == 4 * STEPS


def test_a_full_disk_in_the_middle_does_not_end_the_run(tmp_path, monkeypatch, caplog):
    save = CheckpointFolder.save

    def refuse(self, state, **keywords):
        if state["epoch"] == 2:
            raise UserError("the disk is full: somewhere")
        return save(self, state, **keywords)

    monkeypatch.setattr(CheckpointFolder, "save", refuse)
    with caplog.at_level(logging.ERROR):
        assert train_toy(tmp_path).steps == 4 * STEPS
    assert "checkpoint not saved: the disk is full: somewhere; last good checkpoint: " in caplog.text
    assert "epoch-0001.pt; training continues" in caplog.text


def test_a_really_full_disk_costs_one_checkpoint_and_nothing_else(tmp_path, small_disk, caplog):
    task, filler = ToyTask(), small_disk / "filler"

    def before(call):
        if call == 8:  # in the second epoch
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        if call == 14:  # in the third
            filler.unlink()

    task.before = before
    with caplog.at_level(logging.WARNING):
        train_toy(small_disk / "run", task=task)
    train_toy(tmp_path)
    assert "the disk is full" in caplog.text and "training continues" in caplog.text
    names = [path.name for path in CheckpointFolder(small_disk / "run" / "checkpoints").paths()]
    assert names == [f"step-{6 * epoch:08d}-epoch-{epoch:04d}.pt" for epoch in (4, 3, 1)]
    written, whole = losses(small_disk / "run"), losses(tmp_path)
    assert set(written) <= set(whole) and written[-1] == whole[-1]


def test_a_full_disk_at_the_end_is_an_error(tmp_path, monkeypatch):
    def refuse(self, state, **keywords):
        raise UserError("the disk is full: somewhere")

    monkeypatch.setattr(CheckpointFolder, "save", refuse)
    with pytest.raises(TrainingStopped, match="the last checkpoint could not be saved: the disk is full"):
        train_toy(tmp_path, epoch=1)


def test_gradients_are_clipped_to_the_bound_and_the_line_tells_the_norm_before(tmp_path):
    task = ToyTask()
    train_toy(tmp_path, task=task, max_grad_norm=1e-3, max_steps=1)
    applied = torch.cat([value.grad.flatten() for value in task.parameters()]).norm()
    line = json.loads((tmp_path / "history.jsonl").read_text())
    assert float(applied) == pytest.approx(1e-3, rel=1e-3) and line["grad_norm"] > 0.1


def test_the_average_forgets_the_start_early_and_then_keeps_its_decay(tmp_path):
    task, weights = ToyTask(), []
    task.before = lambda call: weights.append(task.model[0].weight.detach().clone())
    train_toy(tmp_path, task=task, ema=0.5, max_steps=12)
    average = weights[0]
    for step, weight in enumerate([*weights[1:], task.model[0].weight.detach()], 1):
        average = average.lerp(weight, 1 - min(0.5, (step - 1) / (step + 8)))
    state = CheckpointFolder(tmp_path / "checkpoints").load("latest")[0]
    torch.testing.assert_close(state["ema"]["0.weight"], average)


def test_validation_without_an_average_is_in_eval_mode_and_training_is_not(tmp_path):
    task, modes = ToyTask(), []
    task.before = lambda call: modes.append(task.model.training)

    def validate(step, model):
        modes.append(model.training)
        return {}

    train_toy(tmp_path, task=task, val_freq=1, epoch=2, validate=validate)
    assert modes == [*[True] * STEPS, False] * 2


def test_a_start_from_data_is_the_start_of_the_average_too(tmp_path):
    task = ToyTask()
    task.starts_from_data = True
    task.initialise = lambda batches, generators: torch.nn.init.constant_(task.model[0].weight, 0.25)
    trainer = Trainer(task, ToyLoader(), options=toy_options(ema=0.5), run_dir=tmp_path, device=torch.device("cpu"))
    trainer.initialise()
    assert (trainer._state.average.module[0].weight == 0.25).all()


def test_a_start_from_data_sees_a_number_of_pictures_and_compiles_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("utils.engine.loop._INIT_PICTURES", 2)
    task, seen = ToyTask(), []
    task.starts_from_data = True
    task.initialise = lambda batches, generators: seen.append((len(batches), task.model(torch.rand(2, 8))))
    trainer = Trainer(task, ToyLoader(), options=toy_options(compile=True), run_dir=tmp_path,
                      device=torch.device("cpu"))
    torch._dynamo.utils.counters.clear()
    trainer.initialise()
    assert [count for count, _ in seen] == [2] and not torch._dynamo.utils.counters["frames"]


def test_an_average_that_a_resumed_run_adds_starts_from_its_weights(tmp_path):
    train_toy(tmp_path, max_steps=12)
    trainer = Trainer(ToyTask(), ToyLoader(), options=toy_options(ema=0.5), run_dir=tmp_path,
                      device=torch.device("cpu"))
    trainer.resume("latest")
    average = trainer._state.average.module.state_dict()
    torch.testing.assert_close(average, CheckpointFolder(tmp_path / "checkpoints").load("latest")[0]["state_dict"])


def test_validation_sees_the_averaged_weights_and_training_does_not(tmp_path):
    task, seen = ToyTask(), []

    def validate(step, model):
        assert model is task.model
        seen.append(model[0].weight.detach().clone())
        assert not model.training
        return {"score": float(step)}

    train_toy(tmp_path, task=task, ema=0.9, val_freq=1, epoch=2, validate=validate)
    state = CheckpointFolder(tmp_path / "checkpoints").load("latest")[0]
    assert torch.equal(state["ema"]["0.weight"], seen[-1])
    assert torch.equal(state["state_dict"]["0.weight"], task.model[0].weight)
    assert not torch.equal(seen[-1], task.model[0].weight)
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [line["score"] for line in lines if line["kind"] == "val"] == [6, 12]


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    train_toy(tmp_path, epoch=1)
    task = ToyTask()
    task.model.append(torch.nn.Linear(8, 8))
    with pytest.raises(UserError, match=r"of another network: missing 4.weight, 4.bias, unknown none; .*start "
                                        r"from its weights with path.pretrain_model_G=.*\.pt$"):
        train_toy(tmp_path, task=task, resume="latest")


def test_a_checkpoint_of_other_shapes_is_refused_in_one_line(tmp_path):
    train_toy(tmp_path, epoch=1)
    task = ToyTask()
    task.model[3] = torch.nn.Linear(16, 9)
    with pytest.raises(UserError, match=r"another network: 3.weight of shape \(8, 16\) instead of \(9, 16\), 3.bias"):
        train_toy(tmp_path, task=task, resume="latest")


@pytest.mark.parametrize(("first", "then"), [("muon", "adam"), ("adamw", "muon")])
def test_a_run_cannot_change_between_muon_and_adam(tmp_path, first, then):
    train_toy(tmp_path, epoch=1, optimizer=first)
    with pytest.raises(UserError, match=f"was trained by {first}, whose state {then} cannot use; resume with "
                                        f"train.optimizer={first}, or start from its weights"):
        train_toy(tmp_path, resume="latest", optimizer=then)


@pytest.mark.parametrize("optimizers", [[], [{}], ["text"], [{"state": {}, "param_groups": []}]])
def test_an_optimiser_state_that_is_none_is_refused_in_one_line(tmp_path, optimizers):
    train_toy(tmp_path, epoch=1)
    path = CheckpointFolder(tmp_path / "checkpoints").newest()
    torch.save({**torch.load(path, weights_only=True), "optimizers": optimizers}, path)
    with pytest.raises(UserError, match="its optimiser state cannot be used here"):
        train_toy(tmp_path, resume="latest")


class Rolling(ToyLoader):
    """Continues where it is when an epoch begins, as the pairs of stage 2 do."""

    def set_epoch(self, epoch: int) -> None:
        self.epoch, self.position = epoch, self.position % len(self)


def test_a_rehearsal_changes_nothing(tmp_path):
    train_toy(tmp_path / "plain", epoch=1, loader=Rolling())
    trainer = Trainer(ToyTask(), Rolling(), options=toy_options(epoch=1), run_dir=tmp_path / "run",
                      device=torch.device("cpu"))
    trainer.rehearse()
    assert not (tmp_path / "run").exists()
    trainer.fit()
    assert losses(tmp_path / "run") == losses(tmp_path / "plain")


def test_changed_options_are_told_and_obeyed(tmp_path, caplog):
    train_toy(tmp_path, epoch=1)
    with caplog.at_level(logging.WARNING):
        train_toy(tmp_path, resume="latest", epoch=2, lr=0.5, optimizer="adamw", weight_decay=0.1)
    assert "train.lr: 0.01 -> 0.5" in caplog.text and "train.epoch: 1 -> 2" in caplog.text
    state = CheckpointFolder(tmp_path / "checkpoints").load("latest")[0]
    assert [group["weight_decay"] for group in state["optimizers"][0]["param_groups"]] == [0.1, 0.0]
    assert state["optimizers"][0]["param_groups"][0]["lr"] == 0.5


def test_what_a_task_calls_frozen_is_in_no_checkpoint(tmp_path):
    task = ToyTask()
    task.model.teacher = torch.nn.Linear(2, 2).requires_grad_(False)
    task.model.forward = lambda x: torch.nn.Sequential(*list(task.model)[:4])(x)
    task.frozen_prefixes = ("teacher.",)
    task.trainable = lambda: (value for value in task.parameters() if value.requires_grad)
    train_toy(tmp_path, task=task, epoch=1)
    assert not any("teacher" in name for name in
                   CheckpointFolder(tmp_path / "checkpoints").load("latest")[0]["state_dict"])
    assert train_toy(tmp_path, task=task, resume="latest", epoch=2).steps == 2 * STEPS


@pytest.mark.slow
def test_a_compiled_network_trains_alike_and_keeps_its_names(tmp_path):
    train_toy(tmp_path / "plain", epoch=1, task=ToyTask(noise=False))
    train_toy(tmp_path / "compiled", epoch=1, compile=True, task=ToyTask(noise=False))
    for (_, value), (_, expected) in zip(losses(tmp_path / "compiled"), losses(tmp_path / "plain")):
        assert value == pytest.approx(expected, rel=1e-5)
    plain, compiled = (CheckpointFolder(tmp_path / name / "checkpoints").load("latest")[0] for name in
                       ("plain", "compiled"))
    assert list(plain["state_dict"]) == list(compiled["state_dict"])


def test_a_network_that_cannot_be_compiled_trains_as_it_is(tmp_path, monkeypatch, caplog):
    train_toy(tmp_path / "plain", epoch=1)
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "/bin/false"))
    monkeypatch.setattr("torch._inductor.config.force_disable_caches", True)
    try:
        with caplog.at_level(logging.WARNING):
            train_toy(tmp_path / "compiled", epoch=1, compile=True)
    finally:
        torch.compiler.set_stance("default")
        torch.compiler.reset()
    assert "train.compile: the network cannot be compiled here" in caplog.text
    assert losses(tmp_path / "compiled") == losses(tmp_path / "plain")


def test_an_empty_loader_is_a_users_mistake(tmp_path):
    loader = ToyLoader()
    loader.rows = list
    with pytest.raises(UserError, match="epoch 1 gave no batch although 6 were promised"):
        train_toy(tmp_path, loader=loader)


@pytest.mark.parametrize(("train", "progress", "factor"), [
    ({"lr_steps": [2, 4]}, 1.99, 1.0), ({"lr_steps": [2, 4]}, 2.0, 0.5), ({"lr_steps": [2, 4]}, 4.5, 0.25),
    ({"lr_steps": [2], "warmup_epochs": 1}, 0.25, 0.25),
    ({"schedule": "cosine", "warmup_epochs": 2}, 1.0, 0.5), ({"schedule": "cosine", "warmup_epochs": 2}, 2.0, 1.0),
    ({"schedule": "cosine", "warmup_epochs": 2}, 6.0, 0.5), ({"schedule": "cosine"}, 10.0, 0.0),
    ({"schedule": "wsd", "warmup_epochs": 2}, 1.0, 0.5), ({"schedule": "wsd"}, 8.5, 1.0),
    ({"schedule": "wsd"}, 9.25, 0.5), ({"schedule": "wsd"}, 10.0, 0.0), ({"schedule": "wsd"}, 11.0, 0.0)])
def test_the_learning_rate_follows_the_schedule(train, progress, factor):
    options = toy_options(**{**train, "epoch": 10}).train
    optimizer = build_optimizer(ToyTask().trainable(), options, 0.1)
    assert Schedule(optimizer, options, 0.1, 10).set(progress) == pytest.approx(0.1 * factor)
    assert all(group["lr"] == pytest.approx(0.1 * factor) for group in optimizer.param_groups)


def test_stacked_matrices_move_as_they_do_one_by_one(monkeypatch):
    monkeypatch.setattr("utils.engine.optimisation.device_gains", lambda device: True)
    generator = torch.Generator().manual_seed(0)
    shapes = [(48, 32), (24,), (32, 48), (48, 32), (16, 3, 4, 4), (48, 32), (1, 1, 32), (32, 48)]
    ours, theirs = ([torch.nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(1)))
                     for shape in shapes] for _ in range(2))
    options = toy_options(optimizer="muon", weight_decay=0.1).train
    stacked = build_optimizer(ours, options, 0.02)
    groups = [{"params": [value for value in theirs if (value.ndim > 1) == matrix], "weight_decay": 0.1 * matrix}
              for matrix in (True, False)]
    one_by_one = muon.Muon(groups, lr=0.02, betas=(options.beta1, options.beta2), nesterov=True)
    for _ in range(3):
        for mine, its in zip(ours, theirs):
            mine.grad = torch.randn(mine.shape, generator=generator)
            its.grad = mine.grad.clone()
        stacked.step()
        one_by_one.step()
    for mine, its in zip(ours, theirs):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-5)
    assert muon._single_tensor_muon.__name__ == "_single_tensor_muon"


@pytest.mark.parametrize(("native", "error"), [(False, 1e-5), (True, None)])
def test_muon_iterates_in_float32_where_bf16_is_not_native(monkeypatch, native, error):
    monkeypatch.setattr("utils.engine.optimisation.device_gains", lambda device: native)
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(48, 32, generator=generator))
    before, weight.grad = weight.detach().clone(), torch.randn(48, 32, generator=generator)
    # Newton-Schulz in float64 on the momentum of a first step: .05 of the gradient, with Nesterov's look ahead.
    update = (0.05 * weight.grad).double().mul(0.95).add(0.05 * weight.grad.double())
    exact = muon.zeropower_via_newtonschulz(update, 5, muon._COEFFICIENTS["quintic"], dtype=torch.float64)
    build_optimizer([weight], toy_options(optimizer="muon").train, 0.1).step()
    applied = (before - weight.detach()).double() / (0.1 * 0.2 * 48 ** 0.5)
    far = float((applied - exact).abs().max())
    assert far < error if error else 1e-4 < far < 2e-2
    assert muon.zeropower_via_newtonschulz.__name__ == "zeropower_via_newtonschulz"


def test_the_guard_remembers_the_first_bad_step_only():
    guard = FiniteGuard(torch.device("cpu"), immediate=False)
    good, bad = torch.tensor([1.0, 2.0]), torch.tensor([1.0, torch.inf])
    norm = torch.tensor(1.0)
    for step, terms in enumerate([good, bad, good, bad * torch.nan], 1):
        assert (guard.check(["a", "b"]) is None) == (step <= 2)
        guard.look(step, terms, norm)
    assert guard.check(["a", "b"]) == (2, "loss term b = inf")
    assert guard.found == 1


def test_batches_of_any_make_reach_the_device_whole():
    batch = {"x": torch.zeros(BATCH, 2), "rest": [torch.ones(BATCH), (torch.ones(BATCH), "name")], "progress":
             Progress(sums=torch.ones(3))}
    doubled = map_tensors(batch, lambda tensor: tensor * 2)
    assert batch_size(batch) == BATCH
    assert doubled["rest"][1][0].sum() == 2 * BATCH and doubled["rest"][1][1] == "name"
    assert doubled["progress"].sums.sum() == 6
