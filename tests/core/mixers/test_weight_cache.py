"""What is kept for inference: equal to what training computes, and never older than the weights."""

import copy
import pickle

import pytest
import torch
from torch import nn

from core.mixers import WindowAttention
from core.mixers.weight_cache import WeightCache


def windows(dim=40, heads=2, **changes):
    torch.manual_seed(0)
    mixer = WindowAttention(dim, heads, (4, 4), shift=(2, 2), **changes)
    for parameter in mixer.parameters():
        nn.init.normal_(parameter, std=0.3)
    return mixer.double().eval()


X = torch.randn(2, 16, 12, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def truth(mixer, x=X):
    """By the path of training, which keeps nothing."""
    return mixer(x).detach()


def inference(mixer, x=X):
    with torch.no_grad():
        return mixer(x)


def kept(mixer):
    return len(mixer.groups._cache)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("heads", [1, 2, 5])
@pytest.mark.parametrize("size", [(16, 12), (3, 2), (5, 9)])
def test_inference_is_what_training_computes(heads, bias, size):
    mixer, x = windows(heads=heads, bias=bias), X[:, : size[0], : size[1]]
    for _ in range(2):
        torch.testing.assert_close(inference(mixer, x), truth(mixer, x), rtol=1e-9, atol=1e-10)
    # The addends of the scores, and weights where heads are filled up to a multiple of 8.
    assert kept(mixer) == 1 + bool(40 // heads % 8)
    expected = truth(mixer, x)
    with torch.inference_mode():
        torch.testing.assert_close(mixer(x), expected, rtol=1e-9, atol=1e-10)


def test_training_keeps_nothing():
    mixer = windows()
    truth(mixer)
    assert kept(mixer) == 0
    inference(mixer)
    assert kept(mixer) == 2
    mixer.train()
    assert kept(mixer) == 0


def step(mixer):
    optimizer = torch.optim.SGD(mixer.parameters(), 0.1)
    mixer(X).square().mean().backward()
    optimizer.step()


def other_state(mixer):
    mixer.load_state_dict({k: v + 1 for k, v in mixer.state_dict().items()})


def behind_the_back(mixer):
    mixer.groups.score_bias.table.data.mul_(3.0)
    mixer.groups.v.weight.data.mul_(2.0)


def new_parameter(mixer):
    mixer.groups.q.weight = nn.Parameter(torch.ones_like(mixer.groups.q.weight))


def lossy_round_trip(mixer):
    mixer.half().double()


@pytest.mark.parametrize("change", [step, other_state, behind_the_back, new_parameter, lossy_round_trip])
def test_other_weights_are_seen_at_once(change):
    mixer = windows()
    before = inference(mixer)
    change(mixer)
    after = inference(mixer)
    assert not torch.allclose(before, after, rtol=1e-6, atol=0)
    torch.testing.assert_close(after, truth(mixer), rtol=1e-9, atol=1e-10)


def test_another_type():
    mixer = windows()
    inference(mixer)
    mixer.float()
    torch.testing.assert_close(inference(mixer, X.float()), truth(mixer, X.float()), rtol=1e-4, atol=1e-4)


def test_functional_weights_are_not_mistaken_for_the_modules_own():
    mixer = windows()
    inference(mixer)
    weights = {k: 2 * v.detach() for k, v in mixer.named_parameters()}
    with torch.no_grad():
        found = torch.func.functional_call(mixer, weights, X)
    mixer.load_state_dict(weights)
    torch.testing.assert_close(found, truth(mixer), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda mixer: pickle.loads(pickle.dumps(mixer))])
def test_copies_start_empty_and_are_free_of_the_original(twin):
    mixer = windows()
    before = inference(mixer)
    other = twin(mixer)
    assert kept(other) == 0 and kept(mixer) == 2
    step(other)
    torch.testing.assert_close(inference(other), truth(other), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(inference(mixer), before)
    assert not [name for name in mixer.state_dict() if "cache" in name]


def test_only_the_latest_are_kept_and_each_is_made_once():
    cache, weight, made = WeightCache(size=2), nn.Parameter(torch.ones(3)), []

    def make(key):
        made.append(key)
        return key

    with torch.no_grad():
        for key in ("a", "b", "a", "c", "a", "b"):
            assert cache.get(key, [weight], lambda key=key: make(key)) == key
        assert made == ["a", "b", "c", "b"] and len(cache) == 2
        weight.data.fill_(float("nan"))
        for _ in range(2):
            cache.get("a", [weight], lambda: make("nan"))
    assert made[4:] == ["nan", "nan"]
    cache.get("a", [weight], lambda: make("graph"))
    assert made[-1] == "graph"


def test_tables_of_large_plans_are_not_kept(monkeypatch):
    monkeypatch.setattr("core.mixers.groups._KEEP", 10)
    mixer = windows()
    torch.testing.assert_close(inference(mixer), truth(mixer), rtol=1e-9, atol=1e-10)
    assert kept(mixer) == 1


def test_weights_made_in_inference_mode_are_served():
    with torch.inference_mode():
        mixer = windows()
        first = mixer(X)
        torch.testing.assert_close(mixer(X), first)
