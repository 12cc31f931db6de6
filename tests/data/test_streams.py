"""Photographs and pairs go side by side; stopping and going on anywhere gives the batches of an undisturbed run."""

import torch

from data.loading import OrderedLoader
from data.streams import PairedStreams
from utils.engine.batches import batch_size, map_tensors


class Numbers:
    """Items that are their own numbers."""

    def __init__(self, count: int, label: str) -> None:
        self.count, self.label = count, label

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> int:
        return index

    def collate(self, items: list[int]) -> torch.Tensor:
        return torch.tensor(items)


def streams(photos: int = 10, pairs: int = 6, batch: int = 2, workers: int = 0) -> PairedStreams:
    return PairedStreams(*(OrderedLoader(Numbers(count, label), batch_size=batch, seed=3, workers=workers)
                           for count, label in ((photos, "photographs"), (pairs, "pairs"))))


def run(loader: PairedStreams, epochs: range, state: dict | None = None):
    """(photos, pairs, state after them) of every batch."""
    seen = []
    for epoch in epochs:
        if not (state and epoch == epochs.start):
            loader.set_epoch(epoch)
        for step in loader:
            seen.append((step.photos.tolist(), step.pairs.tolist(), loader.state_dict()))
    return seen


def joined(seen, stream: int) -> list[int]:
    return [number for step in seen for number in step[stream]]


def test_epochs_are_the_photographs_and_pairs_go_round():
    loader = streams()
    assert len(loader) == 5
    seen = run(loader, range(3))
    assert len(seen) == 15
    for epoch in range(3):
        assert sorted(joined(seen[5 * epoch:5 * epoch + 5], 0)) == list(range(10))
    rounds = [joined(seen[i:i + 3], 1) for i in range(0, 15, 3)]
    assert all(sorted(once) == list(range(6)) for once in rounds)
    assert len({tuple(once) for once in rounds}) > 1  # every round has an order of its own


def test_a_longer_set_of_pairs_goes_on_over_epochs():
    seen = run(streams(photos=4, pairs=10), range(5))
    assert sorted(joined(seen[:5], 1)) == list(range(10))


def test_going_on_from_any_batch_gives_the_same_batches():
    whole = run(streams(), range(3))
    for done in range(1, 15):
        state = whole[done - 1][2]
        again = streams()
        again.load_state_dict(state)
        epoch = state["photos"]["epoch"]
        rest = run(again, range(epoch, 3), state)
        assert [step[:2] for step in rest] == [step[:2] for step in whole[done:]], done


def test_workers_give_the_same_batches():
    assert [s[:2] for s in run(streams(workers=1), range(2))] == [s[:2] for s in run(streams(), range(2))]


def test_the_trainer_can_move_and_count_a_batch():
    step = next(iter(streams()))
    assert len(step) == batch_size(step) == 2
    doubled = map_tensors(step, lambda tensor: tensor * 2)
    assert torch.equal(doubled.pairs, step.pairs * 2)
