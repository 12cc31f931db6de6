"""Stage 1: train a fusion network on photographs alone.

    python selftrain.py -opt option/train/SelfTrained_SDatasetFast.yaml --set dataset.train.dataroot=FOLDER
    torchrun --nproc_per_node=4 selftrain.py -opt ...
    python selftrain.py -opt ... --set path.resume_state=latest
"""

import torch
from torch import nn

from data.registry import DATASETS
from data.synthesis import Synthesizer
from models.registry import LOSSES, create_model
from models.tasks import CUDTask
from models.weights import load_weights
from option.load import options_from_command_line
from option.schema import Options
from utils.cli import run
from utils.distributed import choose_device, joined
from utils.logging import log_start
from utils.runs import open_run
from utils.training import Trainer


def build_task(options: Options) -> nn.Module:
    """The network with its synthesis and loss, from the weights that the options name, if any."""
    torch.manual_seed(options.train.manual_seed)  # the initial weights are the seed's as well
    model = create_model(options)
    if options.path.pretrain_model_G:
        load_weights(model, options.path.pretrain_model_G, strict=options.path.strict_load)
    criterion = LOSSES.create(options.train.loss or "CUDLoss", **options.train.loss_arguments)
    return CUDTask(model, Synthesizer(options.dataset.train.image_size, options.synthesis.scenarios), criterion)


def main(arguments: list[str]) -> None:
    """Reads the options and trains."""
    options = options_from_command_line(arguments, __doc__)
    data = options.require("dataset.train")
    device = choose_device(options.device)
    with joined(device) as world:
        run_dir, resume = open_run(options, world)
        log_start(options, device, world)
        loader = DATASETS.get(data.type, where=options.at("dataset.train.type"))(
            data, seed=options.train.manual_seed, run_dir=run_dir, rank=world.rank, world=world.size, device=device)
        trainer = Trainer(build_task(options), loader, options=options, run_dir=run_dir, device=device)
        if resume:
            trainer.resume(resume)
        trainer.fit()


if __name__ == "__main__":
    run(main)
