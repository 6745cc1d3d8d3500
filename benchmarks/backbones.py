"""Vision backbones beside their peers: `python -m benchmarks backbones`, one thread.

    classifiers   inference of whole networks at 224 x 224, one image, against timm's
    training      a forward and a backward pass of two images at 224 x 224, against timm's
    neighbours    neighbourhood attention in tiles, against the gather of every query's keys
    deployed      networks with their batch norms folded, against the same networks as they are trained
    parts         activations and mixers against the form that the releases compute

Both sides have the same weights, and their outputs are compared before anything is timed.  Where timm is not installed,
its rows are left out.
"""

__all__ = ["GROUPS"]

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.backbones.base import Backbone
from apps.vision.backbones.classifier import Classifier
from apps.vision.backbones.convnext import convnext_tiny
from apps.vision.backbones.davit import davit_tiny
from apps.vision.backbones.efficientvit import efficientvit_m0
from apps.vision.backbones.maxvit import maxvit_tiny
from apps.vision.backbones.metaformer import poolformerv2_s12
from apps.vision.backbones.names import Release
from apps.vision.backbones.names_convnext import convnext_timm
from apps.vision.backbones.names_davit import davit_timm
from apps.vision.backbones.names_maxvit import maxvit_timm
from apps.vision.backbones.names_metaformer import metaformer_timm
from apps.vision.backbones.names_swin import swin_timm
from apps.vision.backbones.shvit import shvit_s1
from apps.vision.backbones.swin import swin_tiny
from benchmarks.harness import Ratio, compare, train
from benchmarks.peers.neighbourhood import GatheredNeighbourhoods
from core.checkpoint import load
from core.conv_norm import folded
from core.mixers import ChannelGroupAttention
from core.ops.gelu_tanh import gelu_tanh
from core.ops.neighbourhood import neighbourhood_attention, tile_bias, tile_plan

Row = tuple[str, Ratio, float | None]

# Name, ours, timm's name, names of its weights, demanded at inference and in training.
NETWORKS: tuple[tuple[str, Callable[[], Backbone], str, Callable[..., Release], float | None, float | None], ...] = (
    ("Swin-T", lambda: swin_tiny(drop_path=0.0), "swin_tiny_patch4_window7_224", swin_timm, 1.1, 0.97),
    ("DaViT-T", lambda: davit_tiny(drop_path=0.0), "davit_tiny", davit_timm, 1.0, 1.0),
    ("PoolFormerV2-S12", lambda: poolformerv2_s12(drop_path=0.0), "poolformerv2_s12", metaformer_timm, 1.0, None),
    ("ConvNeXt-T", lambda: convnext_tiny(drop_path=0.0), "convnext_tiny", convnext_timm, None, None),
    ("MaxViT-T", lambda: maxvit_tiny(drop_path=0.0), "maxvit_tiny_tf_224", maxvit_timm, 1.1, None),
)


def has_timm(what: str) -> bool:
    """Whether timm is there; says what is left out otherwise."""
    if find_spec("timm") is not None:
        return True
    print(f"{what} is left out: its peer timm is not installed.\n")
    return False


def pair(make: Callable[[], Backbone], name: str, names: Callable[..., Release]) -> tuple[nn.Module, nn.Module]:
    """A classifier of ours and timm's with equal weights, whose outputs agree to 1e-5."""
    import timm

    ours, peer = Classifier(make()).eval(), timm.create_model(name).eval()
    load(ours, peer.state_dict(), names(ours.backbone).mapping(ours))
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        error = ((ours(x) - peer(x)).norm() / peer(x).norm()).item()
    if not error < 1e-5:
        raise AssertionError(f"{name}: outputs differ by {error:.1e}")
    return ours, peer


def step(network: nn.Module, x: Tensor) -> Callable[[], None]:
    """A forward and a backward pass."""

    def run() -> None:
        network.zero_grad()
        network(x).square().sum().backward()

    return run


def classifiers(repeats: int) -> Iterator[Row]:
    """Half a second a turn."""
    if not has_timm("Inference of backbones"):
        return
    x = torch.randn(1, 3, 224, 224)
    for label, make, name, names, demand, _ in NETWORKS:
        ours, peer = pair(make, name, names)
        with torch.no_grad():
            yield f"{label}, inference: timm", compare(lambda: ours(x), lambda: peer(x), repeats), demand  # noqa: B023


def training(repeats: int) -> Iterator[Row]:
    """Seconds a turn: half of the turns, three at least."""
    if not has_timm("Training of backbones"):
        return
    x = torch.randn(2, 3, 224, 224)
    for label, make, name, names, _, demand in NETWORKS:
        if demand is not None:
            ours, peer = pair(make, name, names)
            ratio = compare(step(ours.train(), x), step(peer.train(), x), max(3, repeats // 2))
            yield f"{label}, training: timm", ratio, demand


def neighbours(repeats: int) -> Iterator[Row]:
    """In use the bias is kept, as the mixer keeps it; in training it is made of the table each time."""
    shapes = ((56, 2, 1, 10.0, 4.0), (28, 4, 1, 3.5, 2.5), (28, 4, 3, None, None))
    for side, heads, dilation, inference, training in shapes:
        grid, kernel, steps = (side, side), (7, 7), (dilation, dilation)
        q, k, v = (torch.randn(1, *grid, heads, 32, requires_grad=True) for _ in range(3))
        table = torch.randn(169, heads, requires_grad=True)
        plan, peer = tile_plan(grid, kernel, steps, q.device), GatheredNeighbourhoods(grid, 7, dilation)

        def ours(q: Tensor, k: Tensor, v: Tensor, table: Tensor) -> Tensor:
            return neighbourhood_attention(q, k, v, kernel, steps, bias=tile_bias(plan, table))  # noqa: B023

        torch.testing.assert_close(ours(q, k, v, table), peer(q, k, v, table), rtol=1e-4, atol=1e-5)
        name = f"neighbourhoods 7 x 7, dilation {dilation}, {side} x {side}, {heads} x 32"
        with torch.no_grad():
            kept = tile_bias(plan, table)

            def inferred() -> Tensor:
                return neighbourhood_attention(q, k, v, kernel, steps, bias=kept)  # noqa: B023

            yield f"{name}: gather", compare(inferred, lambda: peer(q, k, v, table), repeats), inference  # noqa: B023
        ratio = compare(train(ours, q, k, v, table), train(peer, q, k, v, table), repeats)
        yield f"{name}, training: gather", ratio, training


def deployed(repeats: int) -> Iterator[Row]:
    """Outputs are compared on weights whose branches do not begin at 0."""
    for name, make in (("SHViT-S1", shvit_s1), ("EfficientViT-M0", efficientvit_m0)):
        network = Classifier(make()).eval()
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.constant_(part.weight, 0.5)
        ours, x = folded(network), torch.randn(1, 3, 224, 224)
        with torch.no_grad():
            torch.testing.assert_close(ours(x), network(x), rtol=1e-4, atol=1e-4)
            ratio = compare(lambda: ours(x), lambda: network(x), repeats)  # noqa: B023
        yield f"{name}, folded: as it is trained", ratio, 1.1


def parts(repeats: int) -> Iterator[Row]:
    """Forms that need no package beside torch."""
    with torch.no_grad():
        x = torch.randn(3136, 256)
        ratio = compare(lambda: gelu_tanh(x), lambda: F.gelu(x, approximate="tanh"), repeats)
        yield "GELU, tanh form, 3136 x 256: torch", ratio, 1.5
        mixer, tokens = ChannelGroupAttention(96, 3).eval(), torch.randn(1, 56, 56, 96)
        torch.testing.assert_close(mixer(tokens), channel_groups(mixer, tokens), rtol=1e-4, atol=1e-5)
        ratio = compare(lambda: mixer(tokens), lambda: channel_groups(mixer, tokens), repeats)
        yield "groups of channels, 56 x 56, 3 x 32: the release's operations", ratio, 1.1


def channel_groups(mixer: ChannelGroupAttention, x: Tensor) -> Tensor:
    """A transcription of the release's operations."""
    batch, tokens, dim = len(x), x.shape[1] * x.shape[2], x.shape[-1]
    qkv = mixer.qkv(x.reshape(batch, tokens, dim)).reshape(batch, tokens, 3, mixer.heads, dim // mixer.heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    weights = ((k * mixer.scale).transpose(-1, -2) @ v).softmax(-1)
    y = (weights @ q.transpose(-1, -2)).transpose(-1, -2)
    return mixer.out(y.transpose(1, 2).reshape(batch, tokens, dim)).view(x.shape)


GROUPS = {
    "classifiers": classifiers,
    "training": training,
    "neighbours": neighbours,
    "deployed": deployed,
    "parts": parts,
}
