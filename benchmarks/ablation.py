"""Ablation: train variants on the same photographs for the same number of images, and score them on real pairs.

    python -m benchmarks.ablation --photos PHOTOS --out OUT --images 20000 \\
        --ivf IVF --mef MEF --mff MFF [--held-back PHOTOS2] [--variants hr-scenarios head-alone] [--size 224]

IVF holds ``ir/`` and ``vi/``, MEF and MFF one folder a scene. A start goes on where the last one stopped: a run
that was trained is not trained again, one that was cut off goes on from its checkpoint, and OUT/scores.json keeps
what was scored. The table goes to standard output and to OUT/table.md; the fused pictures to OUT/VARIANT/fused.
"""

import argparse
import json
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.runs import add_training_arguments, keep_text, resumed_trainer, run_options
from data.photos import build_photo_loader
from data.synthesis import Synthesizer
from metrics import compute
from models.fuser import Fuser
from models.registry import LOSSES, MODELS
from models.tasks import TRAINING
from option.schema import Options, TestDataOptions, TrainDataOptions
from utils.cli import run
from utils.distributed import choose_device
from utils.pictures.pairs import find_pairs, load_pair
from utils.pictures.writing import write_picture

log = logging.getLogger("ablation")

LIKE_TASKS = {"focus": 0.4, "exposure": 0.2, "contrast": 0.15, "thermal": 0.25}
REJECTING = LIKE_TASKS | {"sensor": 0.1, "glare": 0.1}
METRICS = {"IVF": ("Qabf", "VIF", "SCD", "SSIM"), "MEF": ("Qabf", "VIF", "MEF_SSIM"), "MFF": ("Qabf", "VIF", "Q_CB")}
LAYOUTS = {"IVF": {"infrare_name": "ir", "visible_name": "vi"}, "MEF": {}, "MFF": {}}


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes:
        model, network: registered model and its keywords.
        scenarios: damages and their shares; none: nothing to train.
        loss, loss_arguments: registered loss and its keywords.
    """

    model: str
    scenarios: dict[str, float] = field(default_factory=dict)
    network: dict = field(default_factory=dict)
    loss: str = "HRLoss"
    loss_arguments: dict = field(default_factory=dict)


HR, HEAD = "DeFusionPPHR", "FusionHead"
PUBLISHED_DAMAGE = {"noise": 1.0}
FIRST_LOSS = {"texture": 0.0, "selection": 0.0, "structure": 20.0, "windows": [9], "shrinks": [1], "truth": 20.0}
VARIANTS = {
    "average": Variant("Average"),
    "salience": Variant("SaliencePyramid"),
    "salience-exposure": Variant("SaliencePyramid", network={"base": "exposure"}),
    "faithful-noise": Variant("DeFusionPP", PUBLISHED_DAMAGE, loss="CUDLoss"),
    "faithful-scenarios": Variant("DeFusionPP", LIKE_TASKS, loss="CUDLoss"),
    "hr-noise": Variant(HR, PUBLISHED_DAMAGE),
    "hr-scenarios": Variant(HR, LIKE_TASKS),
    "hr-rejecting": Variant(HR, REJECTING),
    "head-alone": Variant(HEAD, LIKE_TASKS),
    "head-alone-rejecting": Variant(HEAD, REJECTING),
    "head-alone-no-texture": Variant(HEAD, LIKE_TASKS, loss_arguments={"texture": 0.0}),
    "head-alone-no-structure": Variant(HEAD, LIKE_TASKS, loss_arguments={"structure": 0.0}),
    "head-alone-no-selection": Variant(HEAD, LIKE_TASKS, loss_arguments={"selection": 0.0}),
    "head-alone-no-evidence": Variant(HEAD, LIKE_TASKS, {"trust_bound": 1e-3}),
    "head-alone-structure-only": Variant(HEAD, LIKE_TASKS, loss_arguments=FIRST_LOSS),
    "head-alone-photograph-base": Variant(HEAD, LIKE_TASKS, loss_arguments={"base": 20.0}),
    "head-alone-structure-base": Variant(HEAD, LIKE_TASKS, loss_arguments={"base": 10.0, "base_mix": 1.0,
                                                                         "base_rule": "structure"}),
}


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_training_arguments(parser)
    parser.add_argument("--held-back", type=Path, help="folder of other photographs: scores with truth")
    for task in METRICS:
        parser.add_argument(f"--{task.lower()}", type=Path, help=f"folder of {task} pairs to score on")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--images", type=int, default=20_000, help="photographs that each variant sees")
    parser.add_argument("--size", type=int, default=224, help="side of the training crops")
    return parser.parse_args(arguments)


def options_of(name: str, variant: Variant, args: argparse.Namespace) -> Options:
    """The option file that would train a variant."""
    return run_options(name, args, model=variant.model, network=variant.network, size=args.size,
                       cache_size=max(args.size, 32), scenarios=variant.scenarios, train={
                           "max_steps": max(1, args.images // args.batch), "warmup_epochs": 0.2,
                           "loss": variant.loss, "loss_arguments": variant.loss_arguments})


def train(name: str, variant: Variant, args: argparse.Namespace, device: torch.device) -> nn.Module:
    """The variant's model, trained as far as ``args.images`` asks, in inference mode."""
    torch.manual_seed(args.seed)
    model = MODELS.create(variant.model, **variant.network)
    if not variant.scenarios:
        return model.to(device).eval()
    options = options_of(name, variant, args)
    criterion = LOSSES.create(variant.loss, **variant.loss_arguments)
    folder = args.out / name
    folder.mkdir(parents=True, exist_ok=True)
    loader = build_photo_loader(options.dataset.train, seed=args.seed, run_dir=folder, device=device)
    task = TRAINING[model.traits.training](model, Synthesizer(args.size, variant.scenarios), criterion)
    resumed_trainer(task, loader, options, folder, device).fit()
    return model.eval()


def score_real(fuser: Fuser, task: str, root: Path, folder: Path) -> dict[str, float]:
    """Mean scores over the pairs of a folder; the fused pictures are kept."""
    data = TestDataOptions(dataroot=str(root), datashell=task, **LAYOUTS[task])
    rows = []
    for paths in find_pairs(data, "ablation").pairs:
        pair = load_pair(paths, task=task)
        fused = fuser(pair.first, pair.second, task=task, components=False).fused
        write_picture(folder / task / f"{pair.stem}.png", fused)
        rows.append(compute(METRICS[task], pair.first.pixels, pair.second.pixels, fused))
    return {f"{task} {name}": float(np.nanmean([row[name] for row in rows])) for name in METRICS[task]}


@torch.inference_mode()
def score_truth(model: nn.Module, args: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """PSNR against the photograph on synthetic focus and exposure pairs of held-back photographs, in dB."""
    scores = {}
    for scenario in ("focus", "exposure"):
        data = TrainDataOptions(dataroot=str(args.held_back), batch_size=8, image_size=args.size, samples=64, workers=0)
        loader = build_photo_loader(data, seed=7, run_dir=None, device=device)
        generators = {key: torch.Generator(device).manual_seed(11) for key in ("crop", "damage")}
        synthesize, values = Synthesizer(args.size, {scenario: 1.0}, jitter=False), []
        for batch in loader:
            sample = synthesize(batch.to(device), generators)
            fused = model.decompose(sample.x1, sample.x2).fused.float().clamp(0, 1)
            errors = (fused - sample.target).square().mean(dim=(1, 2, 3))
            values += (-10 * errors.clamp(min=1e-10).log10()).tolist()
        scores[f"PSNR {scenario}"] = float(np.mean(values))
    return scores


def score(name: str, model: nn.Module, args: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """All scores of a variant that the arguments allow."""
    scores: dict[str, float] = {}
    fuser = Fuser(model, device=str(device), amp="off")
    for task in METRICS:
        root = getattr(args, task.lower())
        if root is not None:
            scores |= score_real(fuser, task, root, args.out / name / "fused")
    if args.held_back is not None:
        scores |= score_truth(model, args, device)
    return scores


def table(rows: dict[str, dict]) -> str:
    """Markdown table of all scored variants."""
    columns = list(dict.fromkeys(key for row in rows.values() for key in row["scores"]))
    lines = ["| variant | images | minutes | " + " | ".join(columns) + " |", "| --- " * (len(columns) + 3) + "|"]
    for name, row in rows.items():
        values = " | ".join(f"{row['scores'][key]:.3f}" if key in row["scores"] else "" for key in columns)
        lines.append(f"| {name} | {row['images']} | {row['minutes']:.1f} | {values} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Trains and scores what is still missing, and prints the table."""
    args = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    device = choose_device(args.device)
    args.out.mkdir(parents=True, exist_ok=True)
    kept = args.out / "scores.json"
    rows = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    for name in args.variants:
        variant = VARIANTS[name]
        images = args.images if variant.scenarios else 0
        if name in rows and rows[name]["images"] == images:
            continue
        start = time.monotonic()
        model = train(name, variant, args, device)
        minutes = (time.monotonic() - start) / 60
        rows[name] = {"images": images, "minutes": minutes, "scores": score(name, model, args, device)}
        keep_text(json.dumps(rows, indent=1), kept)
        log.info("%s: %s", name, rows[name]["scores"])
    text = table(rows)
    keep_text(text, args.out / "table.md")
    print(text)


if __name__ == "__main__":
    run(main)
