"""What the networks share in reading covariates."""

import pytest
import torch

from apps.timeseries.models.covariates import LinearSkip, StaticEmbedding, cut, normalized
from apps.timeseries.models.itransformer import ITransformer
from apps.timeseries.models.patchtsmixer import PatchTSMixer


def test_the_newest_steps_are_cut():
    assert cut("x", torch.arange(5.0).view(1, 5, 1), 1, 3).flatten().tolist() == [2, 3, 4]
    assert cut("x", None, 0, 3) is None


def test_the_horizon_is_normalised_by_the_past():
    x = torch.tensor([1.0, 3.0, 1.0, 3.0, 8.0]).view(1, 5, 1)
    torch.testing.assert_close(normalized(x, 4).flatten(), torch.tensor([-1.0, 1, -1, 1, 6]), atol=1e-4, rtol=0)


def test_a_constant_past_does_not_blow_up_the_horizon():
    x = torch.tensor([0.0, 0.0, 0.0, 1.0]).view(1, 4, 1)
    torch.testing.assert_close(normalized(x, 3).flatten(), torch.tensor([0.0, 0, 0, 10]))


@pytest.mark.parametrize("network", [ITransformer, PatchTSMixer])
def test_a_linear_skip_starts_at_nothing_and_reads_everything(network):
    torch.manual_seed(0)
    counts = {"num_past_feat_dynamic_real": 1, "num_feat_dynamic_real": 2, "num_time_feat": 1, "target_dim": 2}
    small = {"dim": 8, "depth": 1} | ({"mix_channels": True} if network is PatchTSMixer else {"heads": 2})
    inputs = {
        "past_target": torch.randn(3, 12, 2),
        "past_feat_dynamic_real": torch.randn(3, 12, 1),
        "feat_dynamic_real": torch.randn(3, 16, 2),
        "time_feat": torch.randn(3, 16, 1),
    }
    plain = network(12, 4, **counts, **small).eval()
    skipping = network(12, 4, linear_skip=True, **counts, **small).eval()
    skipping.load_state_dict(plain.state_dict(), strict=False)
    torch.testing.assert_close(skipping(**inputs), plain(**inputs))
    skipping(**inputs).sum().backward()
    assert (skipping.skip.linear.weight.grad != 0).all()


def test_a_linear_skip_is_a_linear_of_its_inputs():
    torch.manual_seed(0)
    skip = LinearSkip(3, 2, past=1, known=1, calendar=1, size=2)
    torch.nn.init.normal_(skip.linear.weight)
    x, past, known, calendar = torch.randn(1, 3, 2), torch.randn(1, 3, 1), torch.randn(1, 5, 1), torch.randn(1, 5, 1)
    raw = skip(x, past, known, calendar)
    assert raw.shape == (1, 2, 2, 2)
    row = torch.cat([x[0, :, 1], past.flatten(), known.flatten(), calendar[0, 3:].flatten()])
    torch.testing.assert_close(raw[0, :, 1].flatten(), skip.linear(row))


def test_static_attributes_are_summed():
    torch.manual_seed(0)
    static = StaticEmbedding(2, [3, 4], 5)
    real, cat = torch.randn(1, 2), torch.tensor([[2, 7]])
    expected = static.real(real) + static.cat[0].weight[2] + static.cat[1].weight[4]
    torch.testing.assert_close(static(real, cat), expected)
    with pytest.raises(ValueError, match="2 static numbers and 2 static categories"):
        static(real, None)
