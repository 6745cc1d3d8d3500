"""Files, schedules, loaders and averages of the training habits."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from core.errors import UserError
from core.training.averaging import Averaging
from core.training.callbacks import Announce
from core.training.files import latest_run, new_run, refuse_existing, writing
from core.training.loader import EpochShuffle, ResumableLoader
from core.training.schedules import Halving, MultiStep, OneCycle


def test_files_appear_whole_or_not_at_all(tmp_path):
    target = tmp_path / "out" / "a.txt"
    with pytest.raises(RuntimeError), writing(target) as path:
        path.write_text("half")
        raise RuntimeError
    assert list(target.parent.iterdir()) == []
    with writing(target) as path:
        path.write_text("whole")
    assert target.read_text() == "whole"
    with pytest.raises(UserError, match="exists already"):
        refuse_existing(target, overwrite=False)


def test_runs_are_numbered(tmp_path):
    first, second = new_run(tmp_path, "a"), new_run(tmp_path, "a")
    assert (first.name, second.name) == ("0", "1")
    assert latest_run(tmp_path, "a", "last") is None
    (first / "checkpoints").mkdir()
    (first / "checkpoints" / "last.ckpt").touch()
    assert latest_run(tmp_path, "a", "last") == first


def rates(schedule, steps):
    seen = []
    for _ in range(steps):
        seen.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.optimizer.step()
        schedule.step()
    return seen


def optimizer():
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)


def test_halving_keeps_two_epochs_then_halves():
    assert rates(Halving(optimizer(), 2, 5), 10) == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


def test_milestones_are_shares_of_the_run():
    assert rates(MultiStep(optimizer(), 2, 5, milestones=(0.5, 0.8)), 10) == [1] * 5 + [0.5] * 3 + [0.25] * 2


def test_one_cycle_rises_and_ends_at_zero():
    seen = rates(OneCycle(optimizer(), 10, 10), 101)
    assert seen[0] < 0.1 and abs(max(seen) - 1) < 1e-12 and seen.index(max(seen)) == 10
    assert seen[-1] < 1e-3


def test_schedule_state_is_plain_and_resumes():
    schedule = OneCycle(optimizer(), 4, 4)
    rates(schedule, 5)
    state = schedule.state_dict()
    assert not any(callable(v) for v in state.values())
    again = OneCycle(optimizer(), 4, 4)
    again.load_state_dict(state)
    assert again.last_epoch == schedule.last_epoch


def test_shuffle_depends_on_seed_and_epoch_alone():
    a, b = EpochShuffle(50, 1), EpochShuffle(50, 1)
    torch.rand(3)
    assert list(a) == list(b)
    b.set_epoch(1)
    assert list(a) != list(b) and sorted(b) == list(range(50))


def test_loader_goes_on_after_the_batches_given():
    def loader():
        return ResumableLoader(list(range(10)), batch_size=2, sampler=EpochShuffle(10, 3))

    whole = [b.tolist() for b in loader()]
    state = torch.get_rng_state()
    first = loader()
    given = []
    for batch in first:
        given.append(batch.tolist())
        if len(given) == 2:
            break
    second = loader()
    second.load_state_dict(first.state_dict())
    rest = [b.tolist() for b in second]
    assert given + rest == whole
    assert [b.tolist() for b in second] == whole  # the epoch after is complete
    assert second.state_dict() == {"given": 0}
    assert torch.equal(state, torch.get_rng_state())  # the global generator was left alone


def test_average_leaves_integers_alone():
    callback = Averaging(decay=0.9)
    blend = callback._kwargs.get("avg_fn") if hasattr(callback, "_kwargs") else None
    module = nn.BatchNorm1d(2)
    module.register_buffer("index", torch.tensor([3, 1, 2, 0]))
    from torch.optim.swa_utils import AveragedModel

    averaged = AveragedModel(module, avg_fn=blend, use_buffers=True)
    with torch.no_grad():
        module.weight.fill_(2.0)
    module(torch.randn(4, 2))
    averaged.update_parameters(module)  # the first update copies
    with torch.no_grad():
        module.weight.fill_(3.0)
    module.num_batches_tracked.fill_(24)
    averaged.update_parameters(module)
    assert averaged.module.index.tolist() == [3, 1, 2, 0]
    assert averaged.module.num_batches_tracked.item() == 24
    assert torch.allclose(averaged.module.weight, torch.tensor(0.9 * 2.0 + 0.1 * 3.0))


@pytest.mark.parametrize("first", [True, False])
def test_all_processes_ask_for_the_folder_and_one_says_it(first, capsys):
    """Lightning sends the folder from the first process to the others: asked by one alone, it waits for ever."""
    asked = []

    class Trainer:
        is_global_zero, precision, strategy = first, "32", SimpleNamespace(root_device="cpu")

        @property
        def log_dir(self):
            asked.append(1)
            return "runs/x/0"

    announce = Announce(0)
    for start in (announce.on_fit_start, announce.on_test_start):
        start(Trainer(), torch.nn.Linear(2, 2))
    assert asked == [1] and ("runs/x/0" in capsys.readouterr().out) == first
