"""Combines the loaders of photographs and of registered pairs, for stage 2 and for heads."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from data.irvis import PairSamples
from data.registry import DATASETS, scenario_shares
from data.sample import Sample, join_samples
from data.synthesis import Synthesizer
from option.schema import Options
from utils.engine.batches import Loader


@dataclass(frozen=True)
class StreamBatch:
    """The pictures of one step.

    Attributes:
        photos: a batch of photographs.
        pairs: a batch of registered pairs.
    """

    photos: Any
    pairs: Any

    def __len__(self) -> int:
        return len(self.photos)


class JoinedSamples:
    """Joins samples of photographs and of real pairs to one batch.

    Args:
        photos, pairs: map a batch and generators to a ``Sample``; both with the same picture size.
    """

    def __init__(self, photos: Callable[..., Sample], pairs: Callable[..., Sample]) -> None:
        self.photos, self.pairs = photos, pairs

    def __call__(self, batch: StreamBatch, generators: Any) -> Sample:
        """The samples of the photographs, then those of the pairs."""
        return join_samples([self.photos(batch.photos, generators), self.pairs(batch.pairs, generators)])


class PairedStreams:
    """Takes a batch from each of two loaders per step.

    Epochs are counted in photographs. The pairs cycle independently: after all pairs, they start again in a new
    order; a new epoch of the photographs does not restart them.

    Args:
        photos, pairs: loaders; ``pairs`` advances to its next epoch automatically.
    """

    def __init__(self, photos: Loader, pairs: Loader) -> None:
        self.photos, self.pairs = photos, pairs
        self._round: Iterator[Any] | None = None  # kept across epochs of the photographs, with its prefetched batches

    def __len__(self) -> int:
        """Number of batches in an epoch of photographs."""
        return len(self.photos)

    def __iter__(self) -> Iterator[StreamBatch]:
        """The remaining batches of the current epoch of photographs, each with pairs."""
        for photos in self.photos:
            yield StreamBatch(photos, self._next_pairs())

    def set_epoch(self, epoch: int) -> None:
        """Start an epoch of the photographs; the pairs continue."""
        self.photos.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Positions of both loaders after the last batch returned."""
        return {"photos": self.photos.state_dict(), "pairs": self.pairs.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue both loaders from a saved position."""
        self._round = None
        self.photos.load_state_dict(state["photos"])
        self.pairs.load_state_dict(state["pairs"])

    def _next_pairs(self) -> Any:
        for _ in range(2):  # the cycle may have just ended, possibly at a saved position: then a new one starts
            if self._round is None:
                self._round = iter(self.pairs)
            pairs = next(self._round, None)
            if pairs is not None:
                return pairs
            self._round = None
        raise RuntimeError(f"the registered pairs gave no batch although {len(self.pairs)} were promised")


def build_streams(options: Options, *, pairs: bool, **place: Any) -> Loader:
    """The loader of the training set that the options name, with the registered pairs beside it if wanted.

    Args:
        options: of the whole run.
        pairs: whether :class:`StreamBatch` es with pairs are wanted.
        **place: as every data set's builder takes it (``build_photo_loader`` in `data/photos.py`).
    """
    data = options.dataset.train
    photos = DATASETS.get(data.type, where=options.at("dataset.train.type"))(data, **place)
    return PairedStreams(photos, DATASETS.get("irvis")(data, **place)) if pairs else photos


def build_synthesis(options: Options, *, pairs: bool = False) -> Callable[..., Sample]:
    """What makes a ``Sample`` of a batch from :func:`build_streams` and the run's generators.

    Args:
        options: of the whole run.
        pairs: as for :func:`build_streams`, if samples of the pairs are wanted as well.
    """
    size = options.dataset.train.image_size
    photos = Synthesizer(size, scenario_shares(options), most_pictures=options.synthesis.pictures)
    return JoinedSamples(photos, PairSamples(size)) if pairs else photos
