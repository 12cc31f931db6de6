"""Stage 2: continue from stage 1 with registered pairs of two modalities and a frozen MAE teacher of each (MCUD).

    python selftrain_multimodal.py -opt option/train/SelfTrained_MDatasetFast.yaml
    python selftrain_multimodal.py -opt ... --set path.resume_state=latest
"""

if __name__ == "__main__":
    from utils.cli import leave_at_once_when_stopped
    leave_at_once_when_stopped()  # while the libraries below load

from typing import Any

import torch
from torch import nn

from data.irvis import PairCrop
from data.streams import build_streams, build_synthesis
from models.registry import LOSSES, MODELS, create_loss, model_from_options
from models.tasks import MCUDTask
from models.teachers import Teachers
from models.weights import load_weights
from option.load import options_from_command_line
from option.schema import Options
from selftrain import build_validation
from utils.cli import run
from utils.engine.batches import Loader
from utils.engine.launch import train
from utils.errors import UserError


def build_task(options: Options) -> nn.Module:
    """Build the network from the stage 1 weights given in the options, with teachers, synthesis and both losses."""
    if not MODELS.get(options.model, where=options.at("model")).traits.predicts_teachers:
        raise UserError(f"{options.at('model')}: {options.model} has no stage 2; give DeFusionPPMM")
    settings, size = options.train, options.dataset.train.image_size
    teachers = Teachers.load(options.teachers.modality1, options.teachers.modality2, where=options.at("teachers"))
    torch.manual_seed(settings.manual_seed)  # the seed also determines the initial weights
    model = model_from_options(options, teacher_widths=teachers.widths)
    if options.path.pretrain_model_G:
        load_weights(model, options.path.pretrain_model_G, strict=options.path.strict_load, start=True)
    return MCUDTask(model, build_synthesis(options),
                    create_loss(options, model.traits), teachers=teachers,
                    augment=PairCrop(size), multimodal_criterion=LOSSES.create("MCUDLoss"),
                    mcud_weight=settings.mcud_weight)


def build_loader(options: Options, **place: Any) -> Loader:
    """Batches of photographs and registered pairs."""
    return build_streams(options, pairs=True, **place)


def main(arguments: list[str]) -> None:
    """Read the options and train."""
    train(options_from_command_line(arguments, __doc__), build_task, build_loader, build_validation)


if __name__ == "__main__":
    run(main)
