"""Speech separation beside its release: `python -m benchmarks audio`, one thread, 1 s of 8 kHz (999 frames), C = 512.

    layers    one of MossFormer2's 24 equal layers and its halves against a transcription of the release's operations
    floor     a layer's matrix products alone, into memory that is there already, against the layer
    baselines Conv-TasNet of the published size against torchaudio's, 1 s and two clips of 2 s
    memory    what a layer keeps for the backward pass, in numbers a frame, and what recomputation leaves of it

Both sides have the same weights, and their outputs and gradients are compared before anything is timed.
"""

__all__ = ["GROUPS", "kept"]

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torchaudio
from torch import Tensor, nn

from apps.audio.models.conv_tasnet import conv_tasnet_base
from apps.audio.models.layers import LayerStack, MossFormer2Layer, MossFormerLayer
from apps.audio.models.names_baselines import TORCHAUDIO
from apps.audio.models.names_mossformer import attention_rules, layer_rules, recurrent_rules
from benchmarks.harness import Ratio, compare
from benchmarks.peers.mossformer import PeerAttention, PeerLayers, PeerMemory
from core.checkpoint import Mapping, load
from core.mixers import GatedMemory
from core.training.allocator import keep_freed_memory

Row = tuple[str, Ratio, float | None]
DIM, FRAMES = 512, 999


class Layers(nn.Module):
    """Layers without what is around them."""

    def __init__(self, depth: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MossFormer2Layer(DIM, dropout=dropout) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Memory(nn.Module):
    """A gated memory with its residual."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = GatedMemory(DIM)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.memory(x)


def step(module: nn.Module, x: Tensor) -> Callable[[], None]:
    """Forward and backward, gradients of everything."""
    x = x.clone().requires_grad_()

    def run() -> None:
        module.zero_grad(set_to_none=True)
        x.grad = None
        module(x).square().mean().backward()

    return run


def equal(ours: nn.Module, peer: nn.Module, mapping: Mapping, x: Tensor) -> None:
    """Fills ours from the peer and compares results and the gradient of x."""
    load(ours, peer.state_dict(), mapping)
    results = []
    for module in (ours, peer):
        given = x.clone().requires_grad_()
        y = module(given)
        results.append((y.detach(), torch.autograd.grad(y.square().mean(), given)[0]))
    for mine, theirs in zip(*results, strict=True):
        error = ((mine - theirs).norm() / theirs.norm()).item()
        if not error < 1e-4:
            raise AssertionError(f"results differ by {error:.1e}")


def layers(repeats: int) -> Iterator[Row]:
    x = torch.randn(1, FRAMES, DIM)
    turns = max(3, repeats // 2)
    pairs = (
        ("one layer", Layers(1), PeerLayers(DIM), layer_rules("", ""), 1.6, 2.0),
        (
            "attention half",
            MossFormerLayer(DIM, dropout=0.0),
            PeerAttention(DIM),
            attention_rules("attention.", ""),
            None,
            None,
        ),
        ("recurrent half", Memory(), PeerMemory(DIM), recurrent_rules("memory.", ""), 2.5, 4.0),
    )
    for name, ours, peer, rules, forward, training in pairs:
        ours.eval()
        peer.eval()
        equal(ours, peer, Mapping(*rules), x)
        with torch.no_grad():
            ratio = compare(partial(ours, x), partial(peer, x), turns)
        yield f"{name}, forward: release's operations", ratio, forward
        ratio = compare(step(ours, x), step(peer, x), turns)
        yield f"{name}, training step: release's operations", ratio, training
    ours, peer = Layers(1, 0.1), PeerLayers(DIM, dropout=0.1)
    ratio = compare(step(ours, x), step(peer, x), turns)
    yield "one layer, training step with dropout 0.1: release's operations", ratio, None


def products(dim: int = DIM, group: int = 256, key_dim: int = 128, inner: int = 256) -> Callable[[], None]:
    """The matrix products of a MossFormer2 layer over FRAMES frames, and nothing else."""
    wide, rest = 4 * dim, FRAMES % group
    shapes = [(FRAMES, dim, wide), (FRAMES, dim, key_dim), (FRAMES, wide // 2, dim)]
    for frames in [group] * (FRAMES // group) + [rest] * (rest > 0):
        shapes += [(frames, key_dim, frames), (frames, frames, wide)]
    shapes += [(key_dim, FRAMES, wide), (FRAMES, key_dim, wide)]
    shapes += [(FRAMES, dim, inner), (FRAMES, inner, 2 * inner), (FRAMES, inner, dim)] + 2 * [(FRAMES, inner, inner)]
    factors = [(torch.randn(a, b), torch.randn(b, c), torch.empty(a, c)) for a, b, c in shapes]

    def run() -> None:
        for a, b, out in factors:
            torch.mm(a, b, out=out)

    return run


def floor(repeats: int) -> Iterator[Row]:
    """With memory kept as the command line keeps it."""
    keep_freed_memory()
    x, ours = torch.randn(1, FRAMES, DIM), Layers(1).eval()
    with torch.no_grad():
        yield "one layer, forward: its products alone", compare(partial(ours, x), products(), repeats), 1 / 1.3


def baselines(repeats: int) -> Iterator[Row]:
    ours, peer = conv_tasnet_base().eval(), torchaudio.models.conv_tasnet_base(2).eval()
    load(ours, peer.state_dict(), TORCHAUDIO)
    for clips, samples in ((1, 8000), (2, 16000)):
        x = torch.randn(clips, samples)
        with torch.no_grad():
            error = ((ours(x) - peer(x[:, None])).norm() / ours(x).norm()).item()
            if not error < 1e-5:
                raise AssertionError(f"results differ by {error:.1e}")
            ratio = compare(partial(ours, x), partial(peer, x[:, None]), max(7, repeats // 2))
        yield f"Conv-TasNet, {clips} x {samples // 8000} s, forward: torchaudio", ratio, 1.0
        ratio = compare(step(ours, x), step(peer, x[:, None]), max(5, repeats // 3))
        yield f"Conv-TasNet, {clips} x {samples // 8000} s, training step: torchaudio", ratio, 1.0


def kept(module: nn.Module, x: Tensor) -> int:
    """Bytes that a forward pass keeps for the backward pass, parameters and x itself aside."""
    own = {p.untyped_storage().data_ptr() for p in module.parameters()} | {x.untyped_storage().data_ptr()}
    held: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            held[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = module(x)
    total = sum(tensor.untyped_storage().nbytes() for tensor in held.values())
    del y
    return total


def memory(repeats: int) -> Iterator[Row]:
    """Sizes do not vary, so once is enough; 4 s, as a training crop is."""
    frames, depth = 4 * FRAMES, 2
    x = torch.randn(1, frames, DIM, requires_grad=True)
    with torch.no_grad():
        rules = layer_rules("", "")
        ours, peer = Layers(depth), PeerLayers(DIM, depth)
        load(ours, peer.state_dict(), Mapping(*rules))
    theirs = kept(peer, x)
    recomputed = LayerStack(DIM, ours.layers, recompute=True)
    for name, module, demand in (("as it is", ours, 2.0), ("recomputed a layer at a time", recomputed, 4.0)):
        own = kept(module.train(), x)
        per = [f"{size / 4 / frames / depth / 1000:.1f}" for size in (own, theirs)]
        ratio = theirs / own
        described = f"kept for the backward pass, {name} ({per[0]} k against {per[1]} k numbers a frame and layer)"
        yield described, Ratio(ratio, ratio, ratio), demand


GROUPS = {"layers": layers, "floor": floor, "baselines": baselines, "memory": memory}
