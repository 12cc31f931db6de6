"""Stage 1: train a fusion network on photographs alone. With model: MAE, pretrain a teacher for stage 2.

    python selftrain.py -opt option/train/SelfTrained_SDatasetFast.yaml --set dataset.train.dataroot=FOLDER
    [torchrun --nproc_per_node=4] selftrain.py -opt ... --set path.resume_state=latest
"""

if __name__ == "__main__":
    from utils.cli import leave_at_once_when_stopped
    leave_at_once_when_stopped()  # while the libraries below load

from typing import Any

import torch
from torch import nn

from data.crops import FlippedCrop
from data.streams import build_streams, build_synthesis
from metrics import compute
from models.fuser import Fuser
from models.registry import create_loss, model_from_options, uses_pairs
from models.tasks import TRAINING
from models.weights import load_weights
from option.load import options_from_command_line
from option.schema import Options
from utils.cli import run
from utils.engine.batches import Loader
from utils.engine.launch import train
from utils.engine.validation import pair_validation
from utils.pictures.pairs import find_pairs, load_pair


def build_task(options: Options) -> nn.Module:
    """Build the network with its synthesis and loss, from the weights given in the options, if any."""
    torch.manual_seed(options.train.manual_seed)  # the seed also determines the initial weights
    model, size = model_from_options(options), options.dataset.train.image_size
    if options.path.pretrain_model_G:
        load_weights(model, options.path.pretrain_model_G, strict=options.path.strict_load, start=True)
    loss, learns_from = create_loss(options, model.traits), model.traits.training
    prepare = (FlippedCrop(size) if learns_from == "pictures"
               else build_synthesis(options, pairs=uses_pairs(options)))
    return TRAINING[learns_from](model, prepare, loss)


def build_loader(options: Options, **place: Any) -> Loader:
    """Batches of the training set that the options name."""
    return build_streams(options, pairs=uses_pairs(options), **place)


build_validation = pair_validation(find=find_pairs, load=load_pair, fuser=Fuser, score=compute)


def main(arguments: list[str]) -> None:
    """Read the options and train."""
    train(options_from_command_line(arguments, __doc__), build_task, build_loader, build_validation)


if __name__ == "__main__":
    run(main)
