"""The reconciliation heads of PatchTSMixer, its distributions, its pooled and pre-training forms."""

from functools import partial

import pytest
import torch
from gluonts.torch.distributions import NormalOutput
from torch import nn

from apps.timeseries.heads import Distribution
from apps.timeseries.models.patchtsmixer import PatchTSMixer, PatchTSMixerBackbone
from apps.timeseries.models.patchtsmixer_distributions import (
    SquareplusNegativeBinomial,
    SquareplusNormal,
    SquareplusStudentT,
)
from apps.timeseries.models.patchtsmixer_heads import (
    ChannelReconciliation,
    PatchReconciliation,
    hierarchy_loss,
    patch_sums,
)
from apps.timeseries.models.patchtsmixer_pooled import PatchTSMixerPooled, last_patch, max_pool, mean_pool
from apps.timeseries.models.patchtsmixer_pretraining import LastPatches, PatchTSMixerPretraining, RandomPatches
from apps.timeseries.models.patchtsmixer_scalers import MeanScaler, NoScaler

SMALL = partial(PatchTSMixerBackbone, dim=8, depth=1, patch_length=4, stride=4, dropout=0.0)


@pytest.mark.parametrize("prepend_past", [True, False])
def test_each_step_is_corrected_by_its_window(prepend_past):
    torch.manual_seed(0)
    head = ChannelReconciliation(2, 1, 5, context=1, prepend_past=prepend_past)
    base, past, known = torch.randn(3, 5, 2), torch.randn(3, 7, 3), torch.randn(3, 5, 1)
    steps = torch.cat([base, known], 2)
    before = past[:, -1:] if prepend_past else torch.zeros(3, 1, 3)
    extended = torch.cat([before, steps, torch.zeros(3, 1, 3)], 1)
    corrected = head(base, past, known)
    for h in range(5):
        window = extended[:, h : h + 3].transpose(1, 2).flatten(1)  # channel by channel
        gated = window * head.gate.weigh(window).softmax(-1)
        torch.testing.assert_close(corrected[:, h], base[:, h] + head.correct(gated))


def test_context_is_needed():
    with pytest.raises(ValueError, match="context 0"):
        ChannelReconciliation(1, 1, 4, context=0)


def test_patch_sums_of_a_horizon_that_does_not_divide():
    assert patch_sums(torch.arange(5.0).view(1, 5, 1), 2).flatten().tolist() == [1, 5, 4]


def test_patches_are_corrected_by_their_own_sum():
    torch.manual_seed(0)
    head = PatchReconciliation(6, 5, 2, size=1)
    features, base = torch.randn(1, 2, 6), torch.randn(1, 5, 2, 1, requires_grad=True)
    corrected, sums = head(features, base)
    assert corrected.shape == base.shape and sums.shape == (1, 3, 2, 1)
    corrected[0, 0, 0].sum().backward()
    reached = base.grad[0, :, :, 0] != 0
    assert reached[:2, 0].all() and not reached[2:].any() and not reached[:, 1].any()


def test_hierarchy_loss_by_hand_over_whole_patches():
    target = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]).view(1, 5, 1)
    observed = torch.ones(1, 5, 1, dtype=torch.bool)
    observed[0, 3] = False
    sums = torch.tensor([4.0, 0.0, 7.0]).view(1, 3, 1)
    # true sums 3, -, 5; predicted ones 4, -, 7; of the zero prediction 0, -, 0; patch length 2
    expected = (((4 - 3) ** 2 + 3**2) + ((7 - 5) ** 2 + 5**2)) / 2 / 2
    loss = hierarchy_loss(torch.zeros(1, 5, 1), sums, target, observed, 2)
    torch.testing.assert_close(loss, torch.tensor(expected))


def test_the_hierarchical_forecaster_has_sums_in_the_unit_of_the_target():
    torch.manual_seed(0)
    net = PatchTSMixer(12, 5, dim=8, depth=1, patch_length=4, stride=4, hierarchy=2).eval()
    window = torch.full((1, 12, 1), 50.0)
    prediction, target = net(window), torch.full((1, 5, 1), 50.0)
    torch.testing.assert_close(net.sums.flatten(), torch.tensor([100.0, 100.0, 50.0]), rtol=0, atol=0.1)
    everywhere = torch.ones(1, 5, 1, dtype=torch.bool)
    assert net.auxiliary_loss(prediction, target, everywhere) < 0.01
    net(window)
    assert net.auxiliary_loss(prediction, target + 1, everywhere) > 1
    assert net.auxiliary_loss(prediction, target, everywhere) == 0, "kept for one step only"


@pytest.mark.parametrize("output", [SquareplusStudentT, SquareplusNormal, SquareplusNegativeBinomial])
def test_asking_a_distribution_twice_gives_the_same(output):
    torch.manual_seed(0)
    head = Distribution(output())
    raw = torch.randn(2, 3, 1, head.size, requires_grad=True)
    prediction = head.finish(raw, torch.full((2, 1, 1), 5.0), torch.full((2, 1, 1), 20.0))
    kept = prediction.detach().clone()
    first = head.distribution(prediction).mean
    torch.testing.assert_close(head.distribution(prediction).mean, first)
    torch.testing.assert_close(prediction, kept)
    first.sum().backward()
    assert raw.grad.isfinite().all()


def test_squareplus_moves_numbers_as_transformers_does():
    (loc, scale) = SquareplusNormal.domain_map(torch.tensor([[2.0]]), torch.tensor([[0.0]]))
    assert (loc.item(), scale.item()) == (2, 1)
    df, _, _ = SquareplusStudentT.domain_map(*torch.tensor([[0.0], [0.0], [0.0]]))
    assert df.item() == 3


@pytest.mark.parametrize("pool", [last_patch, max_pool, mean_pool, None])
def test_pooled_outputs_see_what_they_pool(pool):
    torch.manual_seed(0)
    net = PatchTSMixerPooled(12, 3, target_dim=2, backbone=SMALL, pool=pool, scaler=NoScaler(), head_dropout=0.0)
    assert net(torch.randn(5, 12, 2)).shape == (5, 3)
    features = torch.randn(1, 2, 3, 8)
    expected = {last_patch: features[:, :, 2], max_pool: features.amax(2), mean_pool: features.mean(2)}
    if pool is not None:
        torch.testing.assert_close(pool(features), expected[pool])


def test_the_scale_of_a_window_is_put_back():
    torch.manual_seed(0)
    x = torch.randn(1, 12, 1)
    net = PatchTSMixerPooled(12, 1, backbone=SMALL, scaler=MeanScaler()).eval()
    assert not torch.allclose(net(x), net(100 * x))


def test_outputs_stay_in_their_range():
    net = PatchTSMixerPooled(12, 2, backbone=SMALL, output_range=(-1.0, 3.0))
    with torch.no_grad():
        net.output.bias.fill_(100)
    torch.testing.assert_close(net(torch.randn(4, 12, 1)), torch.full((4, 2), 3.0))
    with pytest.raises(ValueError, match="bounds a number"):
        PatchTSMixerPooled(12, 2, backbone=SMALL, output_range=(0.0, 1.0), head=Distribution(NormalOutput()))


def test_a_distribution_of_one_number_belongs_to_its_own_sample():
    torch.manual_seed(0)
    net = PatchTSMixerPooled(12, 1, backbone=SMALL, head=Distribution(SquareplusNormal())).eval()
    x, target = torch.randn(3, 12, 1), torch.randn(3, 1)
    prediction = net(x)
    assert prediction.shape == (3, 1, 4)
    everywhere = torch.ones_like(target, dtype=torch.bool)
    together = net.head.loss(prediction, target, everywhere)
    alone = [net.head.loss(net(x[n : n + 1]), target[n : n + 1], everywhere[n : n + 1]) for n in range(3)]
    torch.testing.assert_close(together, torch.stack(alone).mean())


@pytest.mark.parametrize("same", [True, False])
def test_random_patches_hide_the_same_number_everywhere(same):
    torch.manual_seed(0)
    hidden = RandomPatches(0.4, same_in_channels=same, keep=[2])(50, 3, 10, torch.device("cpu"))
    assert (hidden[:, :2].sum(-1) == 4).all() and not hidden[:, 2].any()
    assert bool((hidden[:, 0] == hidden[:, 1]).all()) == same
    assert (hidden[:, 0].float().mean(0) > 0.1).all(), "every patch has its turn"


def test_last_patches_share_the_batch_evenly():
    torch.manual_seed(0)
    hidden = LastPatches([1, 3], keep=[1])(9, 2, 5, torch.device("cpu"))
    counts = hidden[:, 0].sum(-1)
    assert sorted(counts.tolist()) == [1] * 5 + [3] * 4 and not hidden[:, 1].any()
    for row, count in zip(hidden[:, 0], counts, strict=True):
        assert row[5 - count :].all() and not row[: 5 - count].any()
    with pytest.raises(ValueError, match="between 1 and 4"):
        LastPatches([5])(2, 1, 5, torch.device("cpu"))


def test_hidden_patches_do_not_reach_the_network():
    torch.manual_seed(0)
    net = PatchTSMixerPretraining(12, 1, backbone=SMALL, hide=LastPatches([1]), scaler=NoScaler(), head_dropout=0.0)
    x = torch.randn(2, 12, 1)
    changed = x.clone()
    changed[:, 8:] += 5
    predicted, patches, hidden = net(x)
    torch.testing.assert_close(net(changed)[0], predicted)
    torch.testing.assert_close(patches[:, 0, 2], x[:, 8:, 0])
    expected = (predicted - patches)[:, 0, 2].square().mean()
    torch.testing.assert_close(net.loss(predicted, patches, hidden), expected)


def test_unobserved_steps_do_not_count_in_the_loss():
    torch.manual_seed(0)
    net = PatchTSMixerPretraining(12, 1, backbone=SMALL, hide=LastPatches([2]), head_dropout=0.0)
    x, observed = torch.randn(2, 12, 1), torch.ones(2, 12, 1, dtype=torch.bool)
    observed[0, 9] = False
    observed[1, 8:] = False  # a whole patch
    losses = []
    for garbage in (0.0, 1e4):
        predicted, patches, hidden = net(x.masked_fill(~observed, garbage), past_observed_values=observed)
        losses.append(net.loss(predicted, patches, hidden, observed))
    torch.testing.assert_close(*losses)
    errors = (predicted - patches).square()[:, 0]
    by_hand = [errors[0, 1].mean(), errors[0, 2, [0, 2, 3]].mean(), errors[1, 1].mean()]
    torch.testing.assert_close(losses[1], torch.stack(by_hand).mean())


def test_what_was_learned_moves_to_a_forecaster():
    pretrained = PatchTSMixerPretraining(12, 1, backbone=SMALL)
    forecaster = PatchTSMixer(12, 3, dim=8, depth=1, patch_length=4, stride=4)
    forecaster.backbone.load_state_dict(pretrained.backbone.state_dict())
    assert isinstance(forecaster.backbone.embedding, nn.Linear)
    torch.testing.assert_close(forecaster.backbone.embedding.weight, pretrained.backbone.embedding.weight)
