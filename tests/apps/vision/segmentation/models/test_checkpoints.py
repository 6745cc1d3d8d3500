"""Files of releases into systems and their backbones."""

from functools import partial
from pathlib import Path

import pytest
import torch

from apps.vision.backbones.mit import MiT
from apps.vision.backbones.resnet import ResNet
from apps.vision.segmentation.models import EncoderDecoder, FCNHead, SegFormerHead, UNet
from apps.vision.segmentation.models.checkpoints import load_release
from apps.vision.segmentation.models.goldens_transkd import TRANSKD
from core.errors import UserError
from core.verify import read, seeded

FOLDER = Path(__file__).parents[4] / "golden"

SIZES = {"heads": (1, 1, 2, 2), "depths": (1, 1, 1, 1), "drop_path": 0.0}


def segformer(dim=8):
    return EncoderDecoder(3, MiT((4, 4, 8, 8), **SIZES), partial(SegFormerHead, dim=dim))


def test_the_student_of_transkd_is_a_segformer(tmp_path):
    """Both releases' names, the framework's own classifier and the counters of norms with them."""
    facts, _ = read(FOLDER / "transkd" / "ea_skf.safetensors")
    weights = {k: torch.from_numpy(seeded(k, shape, facts.seed)) for k, shape in facts.weights.items()}
    whole, alone = (TRANSKD["SKF"].build(facts).inner.eval() for _ in range(2))
    torch.save(weights | {"student.linear_fuse.bn.num_batches_tracked": torch.tensor(3)}, tmp_path / "kd.pth")
    load_release(whole, tmp_path / "kd.pth")
    student = {k.removeprefix("student."): v for k, v in weights.items() if k.startswith("student.")}
    renamed = {f"{'decode_head' if k.startswith('linear_') else 'backbone'}.{k}": v for k, v in student.items()}
    renamed["decode_head.conv_seg.weight"] = torch.zeros(1)
    torch.save({"state_dict": renamed}, tmp_path / "segformer.pth")
    load_release(alone.student, tmp_path / "segformer.pth")
    x = torch.randn(1, 3, 32, 40)
    assert torch.equal(alone.student(x).main, whole(x).main)


def test_checkpoint_of_ours_fills_the_backbone(tmp_path):
    torch.manual_seed(0)
    net, trained = segformer(), segformer()
    torch.save({"state_dict": {f"net.{k}": v for k, v in trained.state_dict().items()}}, tmp_path / "a.ckpt")
    before = net.head.out.weight.clone()
    load_release(net, tmp_path / "a.ckpt")
    assert all(torch.equal(v, trained.backbone.state_dict()[k]) for k, v in net.backbone.state_dict().items())
    assert torch.equal(net.head.out.weight, before)


def test_what_does_not_fit_is_said(tmp_path):
    net = segformer()
    torch.save({"state_dict": {f"net.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "a.ckpt")
    other = EncoderDecoder(3, ResNet((1, 1, 1, 1), (4, 4, 8, 8), bottleneck=False, stem_dim=4), FCNHead)
    with pytest.raises(UserError, match=r"a.ckpt: its backbone does not fit ResNet"):
        load_release(other, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="UNet: no release of it is known"):
        load_release(UNet(3, 4, 2), tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="there is no such file"):
        load_release(net, tmp_path / "b.ckpt")
