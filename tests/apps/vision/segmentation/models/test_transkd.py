"""TransKD: sizes, the teacher outside, one image alone."""

from functools import partial

import pytest
import torch

from apps.vision.backbones.mit import MiT, mit_b0, mit_b1, mit_b2
from apps.vision.segmentation.models.distillation import channel_loss, context_loss
from apps.vision.segmentation.models.segformer import SegFormerHead
from apps.vision.segmentation.models.segmenter import EncoderDecoder
from apps.vision.segmentation.models.transkd import LevelFusion, MatchEA, MatchGL, MatchLinear, TransKD
from core.errors import UserError
from core.mixers import auxiliary_loss


def small(**more):
    torch.manual_seed(0)
    student = MiT((4, 8, 8, 12), (1, 1, 1, 1), (1, 1, 2, 2), drop_path=0.0)
    head = partial(SegFormerHead, dim=8, dropout=0.0)
    return TransKD(3, student, head, MiT((6, 8, 10, 12), (1, 1, 1, 1), (1, 1, 1, 1)), mid=8, **more)


@pytest.mark.parametrize(
    ("make", "dim", "millions"), [(mit_b0, 256, 3.719), (mit_b1, 256, 13.682), (mit_b2, 768, 27.362)]
)
def test_published_sizes_of_students_and_teachers(make, dim, millions):
    with torch.device("meta"):
        net = EncoderDecoder(20, make(), partial(SegFormerHead, dim=dim))
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 3) == millions


@pytest.mark.parametrize(("match", "millions"), [(MatchLinear, 4.563), (MatchGL, 5.219), (MatchEA, 5.534)])
def test_published_sizes_in_training(match, millions):
    with torch.device("meta"):
        net = TransKD(20, mit_b0(), SegFormerHead, mit_b2(), match, official=True)
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 3) == millions


@pytest.mark.parametrize("match", [MatchLinear, MatchGL, MatchEA, None])
def test_the_student_learns_from_the_teacher_which_stays_what_it_is(match):
    make = partial(MatchGL, heads=2) if match is MatchGL else match
    net = small(match=make).train()
    teacher = net._teacher[0]
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    assert not any(name.startswith("_teacher") for name in net.state_dict()) and not teacher.training
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    x, losses = torch.randn(2, 3, 40, 50), []
    for _ in range(8):
        logits = net(x).main
        assert logits.shape == (2, 3, 40, 50)
        losses.append(auxiliary_loss(net).item())
        optimizer.zero_grad()
        net.aux.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    assert all(torch.equal(value, teacher.state_dict()[name]) for name, value in before.items())
    assert all(p.grad is None for p in teacher.parameters())
    assert net.eval()(x).main.shape == (2, 3, 40, 50) and net.aux is None


def test_one_image_alone_is_one_of_several():
    """In evaluation; in training the narrow layer's running statistics serve, and nothing fails."""
    torch.manual_seed(0)
    fusion = LevelFusion(4, 8, 6, True).double().eval()
    x, y = torch.randn(3, 4, 6, 8, dtype=torch.float64), torch.randn(3, 8, 3, 4, dtype=torch.float64)
    both = fusion(x, y)
    for n in range(3):
        alone = fusion(x[n : n + 1], y[n : n + 1])
        torch.testing.assert_close(alone[0][0], both[0][n])
    assert fusion.train()(x[:1], y[:1])[0].isfinite().all()


def test_losses_are_zero_for_equal_maps_and_finite_for_far_ones():
    maps = [torch.randn(2, 3, h, h + 1) for h in (7, 4, 2, 1)]
    assert context_loss(maps, maps) == 0
    assert channel_loss(maps[0], maps[0]).abs() < 1e-6
    assert channel_loss(maps[0] * 1e4, maps[0] * -1e4, 1.0).isfinite()


def test_the_teacher_is_read_when_training_begins(tmp_path):
    """From a checkpoint of ours; a student that is evaluated needs no file."""
    torch.manual_seed(0)
    sizes = {"heads": (1, 1, 2, 2), "depths": (1, 1, 1, 1), "drop_path": 0.0}
    student, teacher, trained = (MiT(dims, **sizes) for dims in ((4, 4, 8, 8), (8, 8, 16, 16), (8, 8, 16, 16)))
    path = tmp_path / "best.ckpt"
    torch.save({"state_dict": {f"net.backbone.{k}": v for k, v in trained.state_dict().items()}}, path)
    net = TransKD(3, student, partial(SegFormerHead, dim=8), teacher, teacher_weights=str(path)).eval()
    assert net(torch.randn(1, 3, 32, 32)).main.shape == (1, 3, 32, 32) and net.aux is None
    net.train()
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name])
    net(torch.randn(2, 3, 32, 32))
    net.aux.backward()
    assert not any("teacher" in name for name in net.state_dict())
    wrong = TransKD(3, student, partial(SegFormerHead, dim=8), MiT((8, 8, 16, 24), **sizes), teacher_weights=str(path))
    with pytest.raises(UserError, match=r"best.ckpt: its backbone does not fit MiT"):
        wrong.train()
