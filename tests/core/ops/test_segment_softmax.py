import torch

from core.ops.segment_softmax import segment_attend, segment_attend_reference


def test_one_query_a_segment_is_a_softmax_over_its_rows():
    made = torch.Generator().manual_seed(0)
    numbers = torch.tensor([0, 0, 0, 1, 3, 3, 3, 3, 4])
    q, k, v = (torch.randn(n, 2, d, generator=made, dtype=torch.float64) for n, d in ((5, 4), (9, 4), (9, 3)))
    leaves = [t.requires_grad_() for t in (q * 30, k, v)]
    ours, theirs = segment_attend(*leaves, numbers), segment_attend_reference(*leaves, numbers)
    torch.testing.assert_close(ours, theirs)
    # Segment 2 has no rows.
    assert not ours[2].any()
    probe = torch.randn(ours.shape, generator=made, dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad((ours * probe).sum(), leaves),
        torch.autograd.grad((theirs * probe).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_no_rows():
    empty = torch.zeros(0, 2, 4)
    assert segment_attend(empty, empty, empty, torch.zeros(0, dtype=torch.int64)).shape == (0, 2, 4)
