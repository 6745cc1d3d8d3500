"""D-Former: any volume, nothing remembered from call to call, every head learns, the release's file loads."""

import pytest
import torch

from apps.vision.segmentation.losses import DeepSupervision
from apps.vision.segmentation.models.dformer import DFormer
from apps.vision.segmentation.models.dformer_loss import DiceCrossEntropy
from apps.vision.segmentation.models.names_dformer import dformer_official
from core.checkpoint import load

SIZES = {"dim": 8, "depths": (2, 1, 2), "heads": (1, 2, 2), "group": (2, 3, 3), "intervals": (4, 2, 1)}


def network(classes=3, **more):
    torch.manual_seed(0)
    return DFormer(classes, **SIZES, patch=(1, 2, 2), **more)


@pytest.mark.parametrize("grid", [(1, 1, 1), (3, 9, 14), (9, 5, 26)])
def test_any_size_alone_and_after_others(grid):
    net = network().double().eval()
    x = torch.randn(2, 1, *grid, dtype=torch.float64)
    before = net(x)
    assert before.main.shape == (2, 3, *grid) and not before.others
    net(x[..., :3, :2, :2])
    torch.testing.assert_close(net(x).main, before.main, rtol=0, atol=0)
    torch.testing.assert_close(net(x[1:]).main[0], before.main[1])


def test_every_weight_learns_and_heads_have_the_volume_s_size():
    net, volume = network(classes=4, channels=2), torch.randn(2, 2, 5, 11, 14)
    labels = torch.randint(0, 4, (2, 5, 11, 14))
    labels[0, 0] = 255
    made = net(volume)
    assert [tuple(y.shape) for y in made.others] == [(2, 4, 5, 11, 14)]
    loss = DeepSupervision(DiceCrossEntropy(), (0.5,))(made, {"labels": labels})
    one = DiceCrossEntropy()
    torch.testing.assert_close(loss, one(made.main, labels) + 0.5 * one(made.others[0], labels))
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in net.named_parameters() if ".k.bias" not in n)


def test_learns_a_box():
    volume = torch.randn(1, 1, 4, 12, 12, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(1, 4, 12, 12, dtype=torch.long)
    labels[:, 1:3, 3:9, 4:10] = 1
    volume[:, 0] += 2 * labels
    net, loss = network(2), DiceCrossEntropy()
    steps = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(50):
        steps.zero_grad()
        loss(net(volume).main, labels).backward()
        steps.step()
    found = net.eval()(volume).main.argmax(1)
    assert ((found & labels).sum() / (found | labels).sum()).item() > 0.9


def test_low_precision_is_finite():
    with torch.autocast("cpu", torch.float16):
        made = network()(1e3 * torch.randn(1, 1, 3, 7, 9))
    assert made.main.isfinite().all()


def test_published_size():
    with torch.device("meta"):
        net = DFormer(14)
    assert sum(p.numel() for p in net.parameters()) == 50_557_248


def test_loss_of_volumes_is_the_loss_voxel_by_voxel():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 3, (2, 2, 3, 4))
    labels[0, 1, 2] = 255
    rows = [
        (logits[(b, slice(None), *p)], int(labels[(b, *p)]))
        for b in range(2)
        for p in torch.cartesian_prod(*map(torch.arange, (2, 3, 4))).tolist()
    ]
    rows = [(z.log_softmax(0), label) for z, label in rows if label != 255]
    entropy = -torch.stack([z[label] for z, label in rows]).mean()
    shares, count = torch.stack([z.exp() for z, _ in rows]), torch.tensor([label for _, label in rows])
    dices = []
    for c in range(3):
        overlap = shares[count == c, c].sum()
        dices.append(1 - (2 * overlap + 1) / (shares[:, c].sum() + (count == c).sum() + 1))
    expected = entropy + 0.5 * torch.stack(dices).mean()
    loss = DiceCrossEntropy(dice=0.5)(logits, labels)
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(y, logits, retain_graph=True)[0] for y in (loss, expected))
    torch.testing.assert_close(ours, theirs)
    with pytest.raises(ValueError, match="grid"):
        DiceCrossEntropy()(logits, labels[:, :1])


def test_release_file():
    net = network()
    names = {}
    for i, depth in enumerate(SIZES["depths"]):
        up = 2 - i
        kinds = [f"layers.{i}"] + ([f"layers_up.{up}"] if i < 2 else [])
        for kind in kinds:
            dim = 8 << i
            blocks = [f"model_down.{kind}.blocks.{j}." for j in range(depth)]
            for b in blocks:
                names |= {f"{b}attn.qkv.weight": (3 * dim, dim), f"{b}attn.qkv.bias": (3 * dim,)}
                names |= {f"{b}attn.proj.weight": (dim, dim), f"{b}attn.proj.bias": (dim,)}
                names |= {f"{b}mlp.fc1.weight": (4 * dim, dim), f"{b}mlp.fc1.bias": (4 * dim,)}
                names |= {f"{b}mlp.fc2.weight": (dim, 4 * dim), f"{b}mlp.fc2.bias": (dim,)}
                names |= {f"{b}norm{k}.{p}": (dim,) for k in (1, 2) for p in ("weight", "bias")}
            names[f"model_down.{kind}.pos_block.proj.0.weight"] = (dim, 1, 3, 3, 3)
            names[f"model_down.{kind}.pos_block.proj.0.bias"] = (dim,)
            if kind == f"layers.{i}" and i < 2:
                names[f"model_down.{kind}.downsample.reduction.weight"] = (2 * dim, 8 * dim)
                names |= {f"model_down.{kind}.downsample.norm.{p}": (8 * dim,) for p in ("weight", "bias")}
    for n, (where, dim) in enumerate((("layers_up.0", 32), ("layers_up.1.upsample", 16))):
        names[f"model_down.{where}.expand.weight"] = (4 * dim, dim)
        names |= {f"model_down.{where}.norm.{p}": (dim // 2,) for p in ("weight", "bias")}
        names[f"model_down.concat_back_dim.{n + 1}.weight"] = (dim // 2, dim)
        names[f"model_down.concat_back_dim.{n + 1}.bias"] = (dim // 2,)
        head = 8 << n
        names |= {f"final.{n}.0.expand.weight": (4 * head, head), f"final.{n}.1.weight": (3, head, 1, 1, 1)}
        names |= {f"final.{n}.0.norm.{p}": (head,) for p in ("weight", "bias")}
    names |= {f"model_down.norm.{p}": (32,) for p in ("weight", "bias")}
    names |= {f"model_down.norm_up.{p}": (8,) for p in ("weight", "bias")}
    names |= {f"model_down.patch_embed.norm.{p}": (8,) for p in ("weight", "bias")}
    names |= {"model_down.patch_embed.proj.weight": (8, 1, 1, 2, 2), "model_down.patch_embed.proj.bias": (8,)}
    official = {name: torch.randn(size) for name, size in names.items()}
    load(net, official, dformer_official(3))
    merging = official["model_down.layers.0.downsample.reduction.weight"].view(16, 2, 2, 2, 8)
    torch.testing.assert_close(net.merges[0].reduction.weight.view(16, 2, 2, 2, 8)[:, 1, 0, 0], merging[:, 0, 0, 1])


@pytest.mark.parametrize("shape", [(1, 2, 4, 4, 4), (1, 4, 4, 4)])
def test_wrong_volume(shape):
    with pytest.raises(ValueError, match="volume"):
        network()(torch.randn(shape))
