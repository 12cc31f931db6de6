"""Sections for training: `train`, `path`, `logger`, `teachers`, `mae`."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from option.fields import Number, PathText, Section, Whole, published


class PathOptions(Section):
    """Sources of weights, and folders of runs and results."""

    pretrain_model_G: PathText | None = Field(None, description="weights to start training from (ours, published, "
                                              "or an encoder by TinyMIM, MAE or timm)")
    strict_load: bool = Field(True, description="missing or unknown weights in pretrain_model_G are an error; "
                                                "false lists them and continues")
    resume_state: PathText | None = Field(None, description="training: a checkpoint to continue from, or latest; "
                                          "testing: the weights (not given: the shipped ones)")
    experiments_root: PathText = Field("experiments", description="folder of the training runs")
    results_root: PathText = Field("results", description="folder of the fused pictures")
    pretrained_models_state: PathText | None = published()


class LoggerOptions(Section):
    """How often a run logs and saves."""

    print_freq: Whole = Field(10, ge=1, description="steps between two log lines")
    save_checkpoint_freq: Whole = Field(2, ge=1, description="epochs between two checkpoints")
    save_checkpoint_minutes: Number | None = Field(None, gt=0, description="also save after this many minutes")
    keep_checkpoints: Whole = Field(2, ge=1, description="number of newest checkpoints to keep")


# Files written by YAML 1.1 tools may contain false for off.
AmpText = Annotated[Literal["auto", "off", "bf16"], BeforeValidator(lambda v: "off" if v is False else v)]


class TrainOptions(Section):
    """Optimiser, schedule, length and precision of a training run."""

    lr: Number = Field(4e-4, gt=0, description="learning rate at the start")
    base_lr: Number | None = Field(None, gt=0, description="if given, lr = base_lr x pictures a step / 256")
    init: Literal["random", "data"] = Field("random", description="weights to start from: random, or patch embedding "
                                            "and pixel heads from training pictures (networks of stage 1)")
    optimizer: Literal["adam", "adamw", "muon"] = Field("adam", description="optimiser; muon: matrices by Muon, the "
                                                                            "rest by AdamW")
    beta1: Number = Field(0.9, ge=0, lt=1, description="first momentum of the optimiser")
    beta2: Number = Field(0.999, ge=0, lt=1, description="second momentum of the optimiser")
    weight_decay: Number = Field(0.0, ge=0, description="weight decay (adamw, muon: decoupled; not on biases and "
                                                        "norms)")
    schedule: Literal["step", "cosine", "wsd"] = Field("step", description="step: lr_steps and lr_gamma; cosine: to 0 "
                                                       "at the end; wsd: constant, then to 0 over decay_share")
    lr_steps: tuple[Whole, ...] = Field((20, 40, 45, 47), description="step: epochs after which the rate drops")
    lr_gamma: Number = Field(0.5, gt=0, le=1, description="step: factor of each drop")
    decay_share: Number = Field(0.15, gt=0, le=1, description="wsd: share of the run, at its end, over which the rate "
                                                              "falls to 0")
    warmup_epochs: Number = Field(0.0, ge=0, description="epochs over which the rate rises from 0")
    epoch: Whole = Field(50, ge=1, description="epochs of the run")
    max_steps: Whole | None = Field(None, ge=1, description="stop after this many optimiser steps")
    accumulate: Whole = Field(1, ge=1, description="batches whose gradients are averaged into one step")
    max_grad_norm: Number | None = Field(20.0, gt=0, description="bound of the gradient's global norm (of the "
                                                                 "batch mean); empty: none")
    loss: str | None = Field(None, description="registered loss; not given: the model's own")
    loss_arguments: dict[str, Any] = Field({}, description="keywords for the loss; it checks them")
    mcud_weight: Number = Field(1 / 16, ge=0, description="stage 2: weight of the MCUD loss beside the CUD loss "
                                                          "(1/16 is the published mix in batch means)")
    ema: Number = Field(0.0, ge=0, lt=1, description="decay of the moving average of the weights; 0: no average")
    amp: AmpText = Field("auto", description="mixed precision: bf16, off, or auto (bf16 where the device gains)")
    compile: bool = Field(False, description="torch.compile the network (falls back with a warning)")
    val_freq: Whole = Field(3, ge=1, description="epochs between two validations")
    manual_seed: Whole = Field(1, ge=0, le=2**32 - 1, description="seed of every random draw")
    max_grad_clip: Number | None = published()
    niter: Whole | None = published(remark="epoch decides the length")
    kernel_freq: Whole | None = published()

    @field_validator("lr_steps")
    @classmethod
    def _rising(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if any(step < 1 for step in steps) or any(a >= b for a, b in pairwise(steps)):
            raise ValueError(f"should be rising epochs from 1, got {list(steps)}")
        return steps

    def learning_rate(self, pictures_per_step: int) -> float:
        """Initial learning rate for ``pictures_per_step`` pictures a step (batch x accumulate x devices)."""
        return self.lr if self.base_lr is None else self.base_lr * pictures_per_step / 256


class TeacherOptions(Section):
    """Stage 2: the frozen MAE encoders. Width and depth are read from the weights."""

    modality1: PathText | None = Field(None, description="teacher of the first modality (infrared or CT): a MAE "
                                       "checkpoint's path, a shipped one's name (mae_infrared, mae_visible), or "
                                       "timm:NAME such as timm:vit_base_patch16_224.mae")
    modality2: PathText | None = Field(None, description="teacher of the second modality (visible or MR), likewise")


class MaeOptions(Section):
    """MAE pretraining of a teacher (`model: MAE`)."""

    size: Literal["tiny", "small", "base"] = Field("base", description="ViT of the encoder, patch 16: width 192, "
                                                   "384 or 768")
    mask_ratio: Number = Field(0.75, gt=0, lt=1, description="share of masked tokens")
    norm_pix_loss: bool = Field(True, description="normalise each target patch to mean 0, variance 1")
    decoder_width: Whole = Field(512, ge=16, multiple_of=16, description="width of the decoder")
    decoder_depth: Whole = Field(8, ge=1, description="blocks of the decoder")

    def arguments(self) -> dict[str, Any]:
        """Keywords for the model."""
        return self.model_dump()
