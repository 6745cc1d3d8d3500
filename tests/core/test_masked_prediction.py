"""What is hidden, and the two losses by their definitions."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from core.masked_prediction import MaskedPrediction, clustered_mask, cut_patches
from core.resample import PatchEmbed

DIM = 6


class Encoder(nn.Module):
    """Patches, and a mean over the real tokens that all get."""

    patch = (2, 3)

    def __init__(self):
        super().__init__()
        self.embed = PatchEmbed(1, DIM, self.patch)

    def mix(self, tokens, *, mask):
        tokens = tokens * mask[..., None]
        return tokens + tokens.sum((1, 2), keepdim=True) / mask.sum((1, 2))[:, None, None, None]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("grid", [(9,), (8, 6), (4, 4, 5)])
@pytest.mark.parametrize("share", [0.0, 0.3, 400 / 512, 1.0])
def test_so_many_of_the_real_ones_are_hidden(grid, share):
    real = torch.ones(4, *grid, dtype=torch.bool)
    real[1, 3:] = False
    real[2] = False
    real[3].flatten()[1:] = False
    hidden = clustered_mask(real, share, generator=seeded())
    assert not (hidden & ~real).any()
    for row, of in zip(hidden, real, strict=True):
        assert row.sum() == min(max(round(share * of.sum().item()), 1), of.sum().item())


def test_hidden_in_squares_that_end_at_the_border():
    real = torch.ones(300, 12, 12, dtype=torch.bool)
    # 9 hidden patches are one square of side 3 wherever it fits.
    hidden = clustered_mask(real, 9 / 144, (3, 3), seeded())
    whole = 0
    for row in hidden:
        places = row.nonzero()
        extent = places.amax(0) - places.amin(0) + 1
        whole += extent.tolist() == [3, 3]
        first = places[0]
        if (first <= 9).all() and (places.amin(0) == first).all() and extent[0] <= 3:
            assert (places.amax(0) - first < 3).all()
    assert whole > 0.5 * len(hidden)


def test_every_patch_has_its_turn_the_first_too():
    hidden = clustered_mask(torch.ones(4000, 5, 4, dtype=torch.bool), 0.5, (1, 1), seeded())
    assert (hidden.double().mean(0) - 0.5).abs().max() < 0.05
    clusters = clustered_mask(torch.ones(4000, 5, 4, dtype=torch.bool), 0.3, (2, 3), seeded())
    assert clusters.double().mean(0).min() > 0.05


def test_a_seed_says_what_is_hidden():
    real = torch.ones(2, 8, 8, dtype=torch.bool)
    first, again, other = (clustered_mask(real, 0.5, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(("share", "clusters"), [(1.5, (3, 5)), (0.5, (0, 2)), (0.5, (4, 3))])
def test_shares_and_sides_that_are_none(share, clusters):
    with pytest.raises(ValueError, match="give a share of 0 to 1, sides from 1 on"):
        clustered_mask(torch.ones(1, 4, dtype=torch.bool), share, clusters)


def test_patches_hold_what_the_embedding_reads():
    x = torch.randn(2, 5, 7, 3)
    embed = PatchEmbed(3, DIM, (2, 3))
    patches = cut_patches(x, (2, 3))
    weight = embed.proj.weight.movedim(1, -1).flatten(1)
    torch.testing.assert_close(F.linear(patches, weight, embed.proj.bias), embed(x).tokens, rtol=1e-4, atol=1e-5)


def test_both_losses_by_their_definitions():
    torch.manual_seed(0)
    model = MaskedPrediction(Encoder(), DIM, share=0.5, clusters=(1, 2)).double()
    x = torch.randn(3, 7, 9, 1, dtype=torch.float64)
    mask = torch.ones(3, 7, 9, dtype=torch.bool)
    mask[1, 4:] = False
    mask[2, :, 3:] = False
    result = model(x, mask, seeded())
    hidden, encoder = result.hidden, model.encoder
    tokens, real, _ = encoder.embed(x, mask)
    seen = torch.where(hidden[..., None], model.embedding, tokens)
    mixed = encoder.mix(seen, mask=real)
    filled = F.pad(x * mask[..., None], (0, 0, 0, 0, 0, 1))
    contrast = error = count = right = 0
    for b in range(3):
        places = hidden[b].nonzero().tolist()
        truth = torch.stack([filled[b, 2 * i : 2 * i + 2, 3 * j : 3 * j + 3].flatten() for i, j in places])
        for number, (i, j) in enumerate(places):
            scores = truth @ model.tell(mixed[b, i, j])
            contrast = contrast - scores.log_softmax(0)[number]
            error = error + (model.draw(mixed[b, i, j]) - truth[number]).square().mean()
            right += int(scores.argmax() == number)
            count += 1
    torch.testing.assert_close(result.contrast, contrast / count, check_dtype=False)
    torch.testing.assert_close(result.error, error / count)
    torch.testing.assert_close(result.loss, result.contrast + 10 * result.error)
    assert result.accuracy.item() == pytest.approx(right / count)
    result.loss.backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


def test_hidden_patches_are_not_seen():
    torch.manual_seed(0)
    model = MaskedPrediction(Encoder(), DIM, share=0.5).double()
    x = torch.randn(2, 8, 9, 1, dtype=torch.float64)
    seen = []
    model.tell.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    hidden = model(x, generator=seeded()).hidden
    fine = hidden.repeat_interleave(2, 1).repeat_interleave(3, 2)
    model(torch.where(fine[..., None], x + 5, x), generator=seeded())
    torch.testing.assert_close(seen[0], seen[1])


def test_padding_adds_nothing():
    torch.manual_seed(0)
    model = MaskedPrediction(Encoder(), DIM, share=1.0).double()
    x = torch.randn(1, 6, 6, 1, dtype=torch.float64)
    wide = torch.full((1, 10, 9, 1), torch.nan, dtype=torch.float64)
    wide[:, :6, :6] = x
    mask = torch.zeros(1, 10, 9, dtype=torch.bool)
    mask[:, :6, :6] = True
    torch.testing.assert_close(model(wide, mask).loss, model(x).loss)
