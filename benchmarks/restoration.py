"""Restoration networks beside their peers, part of `python -m benchmarks superres`, one thread.

    restoration   RGT-S as a whole against spandrel's class, at a size that divides and at one that does not
    filters       the dynamic filter of DLGSANet against unfold, multiply, sum; inference and training
    largest       DRSformer's four softmaxes over the largest scores, alone and as a whole layer, against four products

Both sides have the same weights or inputs, and their outputs are compared before anything is timed.
"""

__all__ = ["GROUPS"]

from collections.abc import Iterator
from importlib.util import find_spec

import torch
from torch import Tensor

from apps.vision.superres.models.goldens_rgt import rgt_mapping
from apps.vision.superres.models.rgt import rgt_small as our_rgt_small
from benchmarks.harness import Ratio, compare, train
from benchmarks.peers.restoration import SparseAttention, four_products, rgt_small, unfold_multiply_sum
from core.checkpoint import load
from core.mixers import ChannelAttention
from core.mixers.channel_attention import TopKWeights
from core.ops.dynamic_filter import dynamic_filter
from core.ops.topk import topk_softmax

Row = tuple[str, Ratio, float | None]


def _agree(mine: Tensor, theirs: Tensor) -> None:
    error = ((mine - theirs).norm() / theirs.norm()).item()
    if not error < 1e-5:
        raise AssertionError(f"outputs differ by {error:.1e}")


def restoration(repeats: int) -> Iterator[Row]:
    """Seconds a turn: a third of the turns, three at least."""
    if find_spec("spandrel") is None:
        print("Inference of RGT is left out: its peer spandrel is not installed.\n")
        return
    ours, peer = our_rgt_small(4).eval(), rgt_small().eval()
    load(ours, peer.state_dict(), rgt_mapping(ours))
    for height, width, demand in ((64, 64, 1.5), (70, 50, None)):
        x = torch.rand(1, 3, height, width)
        with torch.no_grad():
            _agree(ours(x), peer(x))
            ratio = compare(lambda: ours(x), lambda: peer(x), max(3, repeats // 3))  # noqa: B023
        yield f"RGT-S, inference, {height} x {width}, x4: spandrel", ratio, demand


def filters(repeats: int) -> Iterator[Row]:
    for channels, groups, side, trained in ((48, 8, 64, 5.0), (90, 15, 48, None)):
        # Both get the layout they are written for: planes.
        x, weight = torch.randn(1, channels, side, side), torch.randn(1, groups, 49, side, side)

        def ours(x: Tensor, weight: Tensor) -> Tensor:
            taps = weight.permute(0, 3, 4, 1, 2).unflatten(-1, (7, 7))
            return dynamic_filter(x.movedim(1, -1), taps).movedim(-1, 1)

        name = f"dynamic filter 7 x 7, {channels} channels, {groups} groups, {side} x {side}"
        with torch.no_grad():
            _agree(ours(x, weight), unfold_multiply_sum(x, weight))
            ratio = compare(lambda: ours(x, weight), lambda: unfold_multiply_sum(x, weight), repeats)  # noqa: B023
        yield f"{name}, inference: unfold, multiply, sum", ratio, 10.0 if trained else None
        leaves = [t.requires_grad_() for t in (x, weight)]
        ratio = compare(train(ours, *leaves), train(unfold_multiply_sum, *leaves), max(3, repeats // 3))
        yield f"{name}, training: unfold, multiply, sum", ratio, trained


def largest(repeats: int) -> Iterator[Row]:
    keep = [24, 32, 36, 38]
    scores, v = torch.randn(1, 1, 48, 48), torch.randn(1, 1, 48, 128 * 128)
    shares = torch.rand(4)
    with torch.no_grad():
        _agree(topk_softmax(scores, shares, keep) @ v, four_products(scores, v, shares, keep))
        ratio = compare(
            lambda: topk_softmax(scores, shares, keep) @ v, lambda: four_products(scores, v, shares, keep), repeats
        )
        yield "largest scores, 48 channels, 128 x 128: four softmaxes and products", ratio, 3.0
        for dim, heads, side in ((48, 1, 128), (96, 2, 64)):
            mixer = ChannelAttention(dim, heads, weighting=TopKWeights).eval()
            peer = SparseAttention(mixer)
            image = torch.randn(1, dim, side, side)
            tokens = image.permute(0, 2, 3, 1).contiguous()
            _agree(mixer(tokens).permute(0, 3, 1, 2), peer(image))
            ratio = compare(lambda: mixer(tokens), lambda: peer(image), repeats)  # noqa: B023
            yield (
                f"sparse attention between {dim} channels, {heads} heads, {side} x {side}: release's form",
                ratio,
                None,
            )


GROUPS = {"restoration": restoration, "filters": filters, "largest": largest}
