import os
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from core.codebook import EMACodebook


def clusters(steps, batch=64, dim=8, kinds=16, seed=0):
    """Batches around the same centres."""
    random = torch.Generator().manual_seed(seed)
    centres = 3 * torch.randn(kinds, dim, generator=random)
    for _ in range(steps):
        kind = torch.randint(0, kinds, (batch,), generator=random)
        yield centres[kind] + 0.1 * torch.randn(batch, dim, generator=random)


def test_codes_are_in_use_from_the_first_step_and_describe_the_data_soon():
    torch.manual_seed(0)
    ours, release = EMACodebook(8, 128), EMACodebook(8, 128, official=True)
    for step, x in enumerate(clusters(100)):
        used = len(ours(x).unique())
        assert used == 64 if step == 0 else used >= 8
        single = len(release(x).unique())
        if step == 0:
            first = single
        error = (x - ours.output[ours.eval()(x)]).square().sum(1).mean() / x.square().sum(1).mean()
        ours.train()
    assert error < 0.003  # the noise is a 900th of the signal
    assert single < 4 < first  # and this is why the release's start is not the default


def test_a_code_is_the_mean_of_its_rows():
    torch.manual_seed(0)
    codebook = EMACodebook(4, 3).double()
    x = torch.randn(40, 4, dtype=torch.float64)
    codebook(x)
    before = codebook.size.clone(), codebook.sums.clone(), codebook.embedding.clone()
    index = codebook(x)
    z = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()
    assert torch.equal(index, torch.cdist(z, before[2]).argmin(1))
    chosen = torch.nn.functional.one_hot(index, 3).double()
    size = 0.99 * before[0] + 0.01 * chosen.sum(0)
    torch.testing.assert_close(codebook.size, size)
    torch.testing.assert_close(codebook.embedding, (0.99 * before[1] + 0.01 * chosen.T @ z) / size[:, None])


def test_fewer_rows_than_codes_leave_codes_unborn():
    codebook = EMACodebook(4, 10)
    codebook(torch.randn(6, 4))
    assert (codebook.size > 0).sum() == 6
    codebook(torch.randn(6, 4))
    assert (codebook.size > 0).all()


def test_a_code_without_rows_starts_again():
    torch.manual_seed(0)
    codebook = EMACodebook(2, 4, decay=0.5)
    for _ in range(3):
        codebook(torch.randn(32, 2))
    codebook.embedding[2] = 1e3
    codebook.sums[2] = 1e3 * codebook.size[2]
    for _ in range(8):
        codebook(torch.randn(32, 2))
    assert codebook.embedding[2].abs().max() < 10


@pytest.mark.parametrize("rows", [0, 1])
def test_a_batch_of_one_row_or_none(rows):
    codebook = EMACodebook(4, 3)
    codebook(torch.randn(8, 4))
    index = codebook(torch.randn(rows, 4))
    assert index.shape == (rows,)
    assert all(buffer.isfinite().all() for buffer in codebook.buffers())


def _process(rank, port, parts, expected):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    codebook = EMACodebook(8, 40).double()
    for step in parts:
        codebook(step[rank])
    for ours, theirs in zip(codebook.state_dict().values(), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_learn_what_one_learns():
    whole = [x.double() for x in clusters(4, batch=30)]
    codebook = EMACodebook(8, 40).double()
    for x in whole:
        codebook(x)
    parts = [(x[:11], x[11:]) for x in whole]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_process, (port, parts, list(codebook.state_dict().values())), nprocs=2)
