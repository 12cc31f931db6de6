"""Two loaders side by side: the photographs and the registered pairs of stage 2, or of a head."""

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
    """One step's pictures.

    Attributes:
        photos: a batch of photographs.
        pairs: a batch of registered pairs.
    """

    photos: Any
    pairs: Any

    def __len__(self) -> int:
        return len(self.photos)


class JoinedSamples:
    """Samples of photographs and of real pairs as one batch.

    Args:
        photos, pairs: make a ``Sample`` of a batch and generators, of one picture size.
    """

    def __init__(self, photos: Callable[..., Sample], pairs: Callable[..., Sample]) -> None:
        self.photos, self.pairs = photos, pairs

    def __call__(self, batch: StreamBatch, generators: Any) -> Sample:
        """The samples of the photographs, then those of the pairs."""
        return join_samples([self.photos(batch.photos, generators), self.pairs(batch.pairs, generators)])


class PairedStreams:
    """A batch of each of two loaders a step.

    Epochs are the photographs'. The pairs go round on their own: when all were seen, their next epoch begins, with
    a new order; a new epoch of the photographs takes the pairs up where they are.

    Args:
        photos, pairs: loaders; ``pairs`` goes on to its next epoch by itself when one has ended.
    """

    def __init__(self, photos: Loader, pairs: Loader) -> None:
        self.photos, self.pairs = photos, pairs
        self._round: Iterator[Any] | None = None  # kept over epochs of the photographs, with what workers read ahead

    def __len__(self) -> int:
        """Batches of a whole epoch of photographs."""
        return len(self.photos)

    def __iter__(self) -> Iterator[StreamBatch]:
        """The batches of the photographs' current epoch that were not handed out yet, each with pairs."""
        for photos in self.photos:
            yield StreamBatch(photos, self._next_pairs())

    def set_epoch(self, epoch: int) -> None:
        """Starts an epoch of the photographs; the pairs go on where they are."""
        self.photos.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Positions of both after the batch that was handed out last."""
        return {"photos": self.photos.state_dict(), "pairs": self.pairs.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a saved position, in both."""
        self._round = None
        self.photos.load_state_dict(state["photos"])
        self.pairs.load_state_dict(state["pairs"])

    def _next_pairs(self) -> Any:
        for _ in range(2):  # the round may have just ended, and was perhaps saved there: then a new one begins
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
