"""The loader gives what `DataLoader` gives, wherever it starts."""

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from core.errors import UserError
from core.training.loader import EpochShuffle, ResumableLoader


class Numbers(Dataset):
    """n -> n, counting how often it is asked, with noise from the global generator."""

    def __init__(self, noise: float = 0.0):
        self.noise, self.asked = noise, []

    def __len__(self):
        return 11

    def __getitem__(self, n):
        self.asked.append(n)
        return n + self.noise * torch.rand(())


class Batches(Numbers):
    """The same in whole batches."""

    def __getitems__(self, numbers):
        return [self[n] for n in numbers]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(11))

    def __len__(self):
        return 11


def lists(loader):
    return [batch.tolist() for batch in loader]


@pytest.mark.parametrize("data", [Numbers, Batches, Stream])
@pytest.mark.parametrize("changes", [{}, {"drop_last": True}, {"batch_size": None}, {"num_workers": 1}])
def test_it_gives_the_batches_of_the_plain_loader(data, changes):
    if data is not Stream:
        changes = {"sampler": EpochShuffle(11, 3)} | changes
    arguments = {"batch_size": 4} | changes
    ours, plain = ResumableLoader(data(), **arguments), DataLoader(data(), **arguments)
    as_list = list if arguments["batch_size"] is None else lists
    expected = as_list(plain)
    assert as_list(ours) == expected and as_list(ours) == expected and len(ours) == len(plain)
    ours.load_state_dict({"given": 2})
    assert as_list(ours) == expected[2:]
    assert ours.state_dict() == {"given": 0} and as_list(ours) == expected


def test_collation_and_shuffling_are_the_loaders_own():
    ours = ResumableLoader(Numbers(), batch_size=3, shuffle=True, collate_fn=tuple)
    first, second = list(ours), list(ours)
    assert all(isinstance(batch, tuple) for batch in first)
    assert sorted(sum(first, ())) == list(range(11)) and first != second


@pytest.mark.parametrize("data", [Numbers, Batches])
def test_an_interrupted_epoch_goes_on_with_the_same_random_numbers_and_reads_nothing_twice(data):
    def loader():
        return ResumableLoader(data(noise=0.5), batch_size=3, sampler=EpochShuffle(11, 1))

    torch.manual_seed(0)
    whole = lists(loader())
    torch.manual_seed(0)
    before, given = loader(), []
    for batch in before:
        given.append(batch.tolist())
        if len(given) == 2:
            break
    assert before.state_dict() == {"given": 2}
    state = torch.get_rng_state()
    torch.manual_seed(9)
    after = loader()
    after.load_state_dict(before.state_dict())
    torch.set_rng_state(state)
    assert given + lists(after) == whole
    assert sorted(before.dataset.asked + after.dataset.asked) == list(range(11))


class Broken(Numbers):
    """Sample 7 is a file that the user can mend."""

    def __getitem__(self, n):
        if n == 7:
            raise UserError("b.png: has the value 9; mend it.")
        return n


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sentence_stays_one_sentence_when_a_worker_says_it(workers):
    with pytest.raises(UserError) as raised:
        list(ResumableLoader(Broken(), batch_size=2, num_workers=workers))
    assert str(raised.value) == "b.png: has the value 9; mend it."
