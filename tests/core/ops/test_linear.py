import pytest
import torch

from core.ops.linear import causal_linear_attention, linear_attention, linear_attention_reference


def features(*shape, seed=0, positive=True):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (x.exp() if positive else x).requires_grad_()


def same(fast, slow, leaves):
    probe = torch.randn(slow.shape, generator=torch.Generator().manual_seed(9), dtype=slow.dtype)
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-12)
    ours = torch.autograd.grad((fast * probe).sum(), leaves)
    theirs = torch.autograd.grad((slow * probe).sum(), leaves)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("queries, keys", [(1, 1), (5, 9), (70, 3)])
def test_linear_attention_is_the_definition(normalise, queries, keys):
    q, k, v = (
        features(2, 3, queries, 4),
        features(2, 3, keys, 4, seed=1),
        features(2, 3, keys, 5, seed=2, positive=False),
    )
    same(
        linear_attention(q, k, v, normalise=normalise),
        linear_attention_reference(q, k, v, normalise=normalise),
        [q, k, v],
    )


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 130])
def test_causal_form_is_the_definition_at_any_length(normalise, length):
    q, k, v = features(2, 2, length, 3), features(2, 2, length, 3, seed=1), features(2, 2, length, 5, seed=2)
    y, _ = causal_linear_attention(q, k, v, normalise=normalise)
    same(y, linear_attention_reference(q, k, v, causal=True, normalise=normalise), [q, k, v])


@pytest.mark.parametrize("chunk", [1, 3, 8, 100])
def test_chunk_size_does_not_matter(chunk):
    q, k, v = features(1, 2, 19, 3), features(1, 2, 19, 3, seed=1), features(1, 2, 19, 4, seed=2)
    y, state = causal_linear_attention(q, k, v)
    other, other_state = causal_linear_attention(q, k, v, chunk=chunk)
    torch.testing.assert_close(other, y, rtol=1e-10, atol=0)
    torch.testing.assert_close(other_state, state, rtol=1e-10, atol=0)


def test_state_carries_the_past_with_gradients():
    q, k, v = features(1, 2, 100, 3), features(1, 2, 100, 3, seed=1), features(1, 2, 100, 4, seed=2)
    whole, last = causal_linear_attention(q, k, v)
    first, state = causal_linear_attention(q[:, :, :37], k[:, :, :37], v[:, :, :37])
    second, end = causal_linear_attention(q[:, :, 37:], k[:, :, 37:], v[:, :, 37:], initial_state=state)
    torch.testing.assert_close(end, last, rtol=1e-10, atol=0)
    same(torch.cat([first, second], 2), whole, [q, k, v])


def test_keys_of_zero_change_nothing():
    q, k, v = features(1, 1, 4, 3), features(1, 1, 4, 3, seed=1), features(1, 1, 4, 2, seed=2)
    more = torch.cat([k, torch.zeros(1, 1, 2, 3, dtype=torch.float64)], 2)
    values = torch.cat([v, torch.full((1, 1, 2, 2), 1e6, dtype=torch.float64)], 2)
    torch.testing.assert_close(linear_attention(q, more, values), linear_attention(q, k, v))
    assert not linear_attention(q, torch.zeros_like(k), v).any()


def test_half_precision_accumulates_in_float32():
    q, k, v = (features(1, 1, 500, 4, seed=s).float() for s in range(3))
    exact = causal_linear_attention(q, k, v)[0]
    y, state = causal_linear_attention(q.bfloat16(), k.bfloat16(), v.bfloat16())
    assert y.dtype == torch.bfloat16
    assert state.dtype == torch.float32
    assert ((y.float() - exact).norm() / exact.norm()) < 1e-2


def test_memory_does_not_grow_with_width_squared_times_length():
    """At T = 8192 the running states of every token would be T * d * (d + 1) numbers; the chunk form keeps 1 / 64."""
    length, width = 8192, 32
    q, k, v = (torch.rand(1, 1, length, width, requires_grad=True) for _ in range(3))
    largest = 0

    def pack(t):
        nonlocal largest
        largest = max(largest, t.untyped_storage().nbytes() // t.element_size())
        return t

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t),
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile,
    ):
        causal_linear_attention(q, k, v)[0].sum().backward()
    single = max(event.self_cpu_memory_usage for event in profile.events()) // 4
    for numbers in (largest, single):
        assert 0 < numbers < length * width * width // 8
