"""Validation on real pairs during training: mean scores and a contact sheet."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from torch import nn

from option.schema import Options
from utils.errors import UserError
from utils.pictures.depth import to_8_bit
from utils.pictures.reading import ReadingRule
from utils.pictures.writing import write_picture
from utils.plots import ContactSheet

log = logging.getLogger(__name__)

Paths = TypeVar("Paths")
COLUMNS = ("input 1", "input 2", "common", "unique 1", "unique 2", "fused")


@dataclass(frozen=True)
class Shown:
    """One fused pair.

    Attributes:
        title: caption.
        pictures: one for each of ``COLUMNS``, (H, W, C) uint8 or uint16; None if missing.
        scores: scores by metric.
    """

    title: str
    pictures: Sequence[np.ndarray | None]
    scores: dict[str, float]


class PairValidation(Generic[Paths]):
    """Fuses and scores the same pairs at every call.

    Args:
        pairs: arguments for ``show``, such as the paths of a pair.
        show: fuses one pair with a network.
        folder: folder for the contact sheets, ``step-00001234.png``.
    """

    def __init__(self, pairs: Sequence[Paths], show: Callable[[Paths, nn.Module], Shown], folder: Path) -> None:
        self._pairs, self._show, self._folder = pairs, show, folder

    def __call__(self, step: int, model: nn.Module) -> dict[str, float]:
        """Mean of each score over the pairs for which it is defined.

        Args:
            step: current step, used in the name of the contact sheet.
            model: the network with its current weights.

        Raises:
            UserError: no pair could be fused, or the disk is full.
        """
        sheet = ContactSheet(COLUMNS, title=f"step {step}")
        scores: list[dict[str, float]] = []
        for paths in self._pairs:
            try:
                shown = self._show(paths, model)
            except UserError as error:
                log.warning("validation leaves a pair out: %s", error)
                continue
            sheet.add(shown.title, shown.pictures)
            scores.append(shown.scores)
        if not scores:
            raise UserError("none of the validation pairs could be fused; see the warnings above")
        write_picture(self._folder / f"step-{step:08d}.png", sheet.render())
        return {name: _mean([row[name] for row in scores]) for name in scores[0]}


def pair_validation(*, find: Callable[..., Any], load: Callable[..., Any], fuser: Callable[..., Any],
                    score: Callable[..., dict[str, float]]) -> Callable[[Options, nn.Module, Path], PairValidation]:
    """Build the validation on the pairs of ``dataset.val`` from functions of the other packages.

    Args:
        find: ``utils.pictures.pairs.find_pairs``.
        load: ``utils.pictures.pairs.load_pair``.
        fuser: ``models.Fuser``.
        score: ``metrics.compute``.

    Returns:
        The argument ``build_validation`` of :func:`utils.engine.launch.train`.
    """
    def build(options: Options, model: nn.Module, run_dir: Path) -> PairValidation:
        val = options.dataset.val
        rule = ReadingRule.of(val)
        found = find(val, options.name)
        for line in [*found.problems, *found.notes]:
            log.warning("validation: %s", line)

        def show(paths: Any, model: nn.Module) -> Shown:
            fuse = fuser(model, device=options.device, color=options.color, tile=options.tile, amp=options.train.amp)
            pair = load(paths, rule, found.task)
            first, second = pair.first.pixels, pair.second.pixels
            result = fuse(pair.first, pair.second, task=found.task)
            scores = score("common", to_8_bit(first), to_8_bit(second), to_8_bit(result.fused))
            return Shown(pair.stem, (first, second, result.common, result.unique1, result.unique2, result.fused),
                         scores)

        return PairValidation(found.pairs, show, run_dir / "validation")

    return build


def _mean(values: list[float]) -> float:
    defined = [value for value in values if math.isfinite(value)]
    return sum(defined) / len(defined) if defined else math.nan
