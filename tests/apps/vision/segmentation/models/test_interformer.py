"""InterFormer: any size, boxes in batches, labels at the size of the maps, the release's file, gradients."""

import pytest
import torch
from torch.nn import functional as F

from apps.vision.segmentation.binary_losses import NormalisedFocal
from apps.vision.segmentation.clicks import InteractiveSession, Zoom, simulate
from apps.vision.segmentation.models.interformer import InterFormer, interformer_light, interformer_tiny
from apps.vision.segmentation.models.interformer_mae import MAEPyramid, RelativeTable2d
from apps.vision.segmentation.models.interformer_neck import ClickNeck, OverlapMerging, refine_inside, share_of_labels
from apps.vision.segmentation.models.names_interformer import interformer_official

CHANNELS = (4, 8, 8, 12)


def network(**more):
    torch.manual_seed(0)
    backbone = MAEPyramid(16, 2, 2, CHANNELS, (64, 64), drop_path=0.0, **more)
    sizes = {"heads": (1, 2, 2, 2), "depths": (2, 1, 2, 2), "refine_start": (1, 1, 1, 1)}
    return InterFormer(backbone, ClickNeck(CHANNELS, **sizes, extent=(64, 64), drop_path=0.0), 8, 0.0)


@pytest.mark.parametrize("size", [(1, 1), (37, 90), (64, 33)])
def test_any_size(size):
    net = network().double().eval()
    with torch.no_grad():
        for table in net.modules():
            if isinstance(table, RelativeTable2d):
                table.table.normal_()
    x, labels = torch.randn(2, 3, *size).double(), torch.randint(0, 5, (2, *size))
    made = net(x, labels)
    assert made.main.shape == (2, 2, *size) and not made.others and made.main.isfinite().all()
    torch.testing.assert_close(net(x[1:], labels[1:]).main, made.main[1:])
    again = net.decode(net.features(x), labels)
    torch.testing.assert_close(again.main, made.main)


def test_every_weight_learns_from_simulated_clicks():
    net = network()
    x, truth = torch.randn(2, 3, 70, 40), torch.zeros(2, 70, 40, dtype=torch.long)
    truth[:, 10:50, 5:30], truth[:, :4] = 1, 255
    labels = simulate(net, x, truth, torch.Generator().manual_seed(3))
    assert net.training and (labels == 4).any()
    made, loss = net(x, labels), NormalisedFocal()
    (loss(made.main, truth) + 0.4 * loss(made.others[0], truth)).backward()
    without = [name for name, p in net.named_parameters() if p.grad is None]
    assert not without


def test_boxes_of_a_batch_are_those_of_each_sample_alone():
    net = network().double().eval()
    x, labels = torch.randn(3, 3, 64, 96).double(), torch.randint(0, 5, (3, 64, 96))
    boxes = torch.tensor([[0, 0, 64, 32], [32, 0, 96, 64], [32, 32, 96, 64]])
    together = net(x, labels, boxes).main
    for n in range(3):
        torch.testing.assert_close(together[n], net(x[n : n + 1], labels[n : n + 1], boxes[n : n + 1]).main[0])
    assert not torch.allclose(together, net(x, labels).main)
    with pytest.raises(ValueError, match="multiples of 4"):
        net(x, labels, boxes + 1)
    with pytest.raises(ValueError, match="inside it"):
        net(x, labels, boxes + torch.tensor([0, 0, 64, 0]))


def test_outside_of_a_box_nothing_changes():
    x = torch.randn(1, 5, 6, 2)
    y = refine_inside(x, [torch.nn.Linear(2, 2)], torch.tensor([[1, 2, 4, 5]]))
    changed = (y != x).any(-1)[0]
    assert changed[2:5, 1:4].all() and changed.sum() == 9


@pytest.mark.parametrize("size", [(4, 6), (5, 3)])
def test_labels_at_the_size_of_maps_are_their_embedding_resized(size):
    labels = torch.randint(0, 5, (2, 16, 24))
    embed = torch.randn(5, 7, dtype=torch.float64)
    slow = F.interpolate(embed[labels].movedim(-1, 1), size, mode="bilinear", align_corners=False).movedim(1, -1)
    torch.testing.assert_close(share_of_labels(labels, size, torch.float64) @ embed, slow)


def test_merging_by_definition():
    torch.manual_seed(0)
    part, x = OverlapMerging(3, 5).double(), torch.randn(1, 5, 4, 3, dtype=torch.float64)
    wide = F.pad(x, (0, 0, 1, 1, 1, 1))
    y = part(x)
    assert y.shape == (1, 3, 2, 5)
    for i in range(3):
        for j in range(2):
            # Channels change slowest.
            patch = wide[0, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].permute(2, 0, 1).flatten()
            torch.testing.assert_close(y[0, i, j], part.reduction(part.norm(patch)))


@pytest.mark.parametrize("size", [(2, 3), (4, 6), (3, 2), (5, 7)])
def test_table_reads_the_nearest_place(size):
    torch.manual_seed(0)
    bias = RelativeTable2d(2, (2, 3))
    with torch.no_grad():
        bias.table.normal_()
    scores = bias(bias.rows(size, torch.device("cpu")))
    places = [(i * 2 // size[0], j * 3 // size[1]) for i in range(size[0]) for j in range(size[1])]
    for a, (i, j) in enumerate(places):
        for b, (k, m) in enumerate(places):
            row = (i - k + 1) * 5 + (j - m + 2)
            torch.testing.assert_close(scores[:, a + 1, b + 1], bias.table[row])
    torch.testing.assert_close(scores[:, 0, 1:], bias.table[15][:, None].expand(-1, len(places)))
    torch.testing.assert_close(scores[:, 1:, 0], bias.table[16][:, None].expand(-1, len(places)))
    torch.testing.assert_close(scores[:, 0, 0], bias.table[17])


def test_maps_of_as_many_tokens_but_another_shape():
    ours, theirs = network().backbone.eval(), network(official=True).backbone.eval()
    square, flat = torch.randn(1, 3, 64, 64), torch.randn(1, 3, 32, 128)
    torch.testing.assert_close(ours(square), theirs(square))
    assert not torch.allclose(ours(flat)[0], theirs(flat)[0])


def test_session_of_the_network():
    session = InteractiveSession(network(), Zoom())
    session.image(torch.randn(3, 50, 70))
    first = session.click(20, 30, True)
    second = session.click(2, 3, False)
    assert first.shape == second.shape == (50, 70) and not torch.equal(first, second)


def test_names_of_the_release_reach_every_weight():
    for make, count in ((interformer_light, 12), (interformer_tiny, 24)):
        with torch.device("meta"):
            net = make()
        targets = {rule.target for rule in interformer_official(net).rules}
        assert len(net.backbone.blocks) == count
        assert "backbone.blocks.{i}.mix.inner.bias.table" in targets and "neck.embed" in targets
        wanted = interformer_official(net).missing({}, {}, net.state_dict())
        lost = [line for line in wanted if "no rule" in line and "num_batches_tracked" not in line]
        assert not lost


@pytest.mark.parametrize("what", ["labels", "strides", "levels"])
def test_errors(what):
    if what == "labels":
        with pytest.raises(ValueError, match="a label for each pixel"):
            network()(torch.randn(1, 3, 64, 64), torch.zeros(1, 32, 64))
    elif what == "strides":
        with pytest.raises(ValueError, match="4, 8, 16 and 32"):
            InterFormer(MAEPyramid(16, 1, 2, CHANNELS, (64, 64), 8), ClickNeck(CHANNELS, heads=(1, 1, 1, 1)))
    else:
        with pytest.raises(ValueError, match="every level"):
            ClickNeck(CHANNELS, depths=(1, 1))
