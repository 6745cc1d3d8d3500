"""The core's ops beside plain forms: `python -m benchmarks.core_ops [--repeats N]`, one thread.

The peers are transcriptions of what releases do, written with torch's own functions:

    cumulative sum    causal linear attention through all T states (T, d, M), as the linear-attention releases do
    matmul            scale, matmul, add the bias, softmax, matmul, as Swin does
    roll and mask     a whole shifted-window layer with roll, partition, region mask and bias gathered in each call
    pad all           ragged segments padded to the longest, boolean mask, the fused op
    convolution copy  depthwise convolution on a contiguous channels-first copy
"""

__all__ = ["main"]

import argparse
import sys
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness import Ratio, compare, report, single_thread, train
from core.layout import Ragged, pad
from core.mixers import WindowAttention
from core.ops.attend import attend
from core.ops.depthwise import depthwise
from core.ops.groups import attend_ragged
from core.ops.linear import causal_linear_attention

Row = tuple[str, Ratio, float | None]


def cumulative_sum(q: Tensor, k: Tensor, v: Tensor, normalise: bool) -> Tensor:
    """Every state (B, H, T, d, M) at once."""
    states = (k[..., :, None] * v[..., None, :]).cumsum(-3)
    out = (q[..., None, :] @ states).squeeze(-2)
    return out / ((q * k.cumsum(-2)).sum(-1, keepdim=True) + 1e-10) if normalise else out


def matmul(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    return ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias).softmax(-1) @ v


def linear(repeats: int) -> Iterator[Row]:
    for length, width, demand in ((512, 32, 15.0), (1024, 64, None)):
        q, k, v = (torch.rand(1, 4, length, width, requires_grad=True) for _ in range(3))
        for name, normalise in (("plain", False), ("normalised", True)):

            def ours(q: Tensor, k: Tensor, v: Tensor, normalise: bool = normalise) -> Tensor:
                return causal_linear_attention(q, k, v, normalise=normalise)[0]

            def peer(q: Tensor, k: Tensor, v: Tensor, normalise: bool = normalise) -> Tensor:
                return cumulative_sum(q, k, v, normalise)

            torch.testing.assert_close(ours(q, k, v), peer(q, k, v), rtol=1e-3, atol=1e-4)
            ratio = compare(train(ours, q, k, v), train(peer, q, k, v), repeats)
            yield f"causal linear, {name}, T {length}, d {width}: cumulative sum", ratio, None if normalise else demand


def window_op(repeats: int) -> Iterator[Row]:
    for tokens, windows, heads, evaluated, trained in (
        (49, 64, 4, None, None),
        (64, 64, 6, 1.1, 1.0),
        (256, 8, 6, 1.4, 1.0),
    ):
        q, k, v = (torch.randn(windows, heads, tokens, 32) for _ in range(3))
        bias = torch.randn(1, heads, tokens, tokens)
        with torch.no_grad():
            ratio = compare(lambda: attend(q, k, v, bias=bias), lambda: matmul(q, k, v, bias), repeats)  # noqa: B023
        yield f"window op, eval, N {tokens}: matmul", ratio, evaluated
        leaves = [t.requires_grad_() for t in (q, k, v, bias)]
        ours = train(lambda q, k, v, b: attend(q, k, v, bias=b), *leaves)
        # Short rows take the same path as the peer, so 1 up to noise is what can be had; at 256 no scores are kept.
        yield (
            f"window op, training, N {tokens}: matmul",
            compare(ours, train(matmul, *leaves), repeats),
            trained and 0.95,
        )


class RollAndMask(torch.nn.Module):
    """A shifted-window layer as the release computes it, on the weights of ours."""

    def __init__(self, own: WindowAttention, size: int, window: int, shift: int) -> None:
        super().__init__()
        self.own, self.size, self.window, self.shift = own.groups, size, window, shift
        place = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij"), -1).flatten(0, 1)
        delta = place[:, None] - place[None] + window - 1
        self.index = (delta[..., 0] * (2 * window - 1) + delta[..., 1]).flatten()
        region = torch.zeros(1, size, size, 1)
        spans = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
        for number, (rows, columns) in enumerate((a, b) for a in spans for b in spans):
            region[:, rows, columns] = number
        flat = self.cut(region).squeeze(-1)
        self.mask = (flat[:, None] != flat[:, :, None]) * -100.0

    def cut(self, x: Tensor) -> Tensor:
        w, n = self.window, self.size // self.window
        return x.view(len(x), n, w, n, w, -1).permute(0, 1, 3, 2, 4, 5).reshape(-1, w * w, x.shape[-1])

    def forward(self, x: Tensor) -> Tensor:
        batch, heads, w, n = len(x), self.own.heads, self.window, self.size // self.window
        cut = self.cut(torch.roll(x, (-self.shift, -self.shift), (1, 2)))
        q, k, v = (
            p(cut).view(len(cut), w * w, heads, -1).transpose(1, 2) for p in (self.own.q, self.own.k, self.own.v)
        )
        table = self.own.score_bias.table
        bias = table[self.index].view(w * w, w * w, heads).permute(2, 0, 1)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias
        scores = scores.view(batch, n * n, heads, w * w, w * w) + self.mask[:, None]
        y = (scores.view(-1, heads, w * w, w * w).softmax(-1) @ v).transpose(1, 2).reshape(len(cut), w * w, -1)
        y = self.own.out(y).view(batch, n, n, w, w, -1).permute(0, 1, 3, 2, 4, 5).reshape(batch, n * w, n * w, -1)
        return torch.roll(y, (self.shift, self.shift), (1, 2))


def window_layer(repeats: int) -> Iterator[Row]:
    for size, window, heads, batch, demand in ((56, 7, 3, 1, None), (56, 7, 3, 2, None), (64, 8, 6, 1, None)):
        ours = WindowAttention(heads * 32, heads, (window, window), shift=(window // 2, window // 2))
        peer = RollAndMask(ours, size, window, window // 2)
        x = torch.randn(batch, size, size, heads * 32)
        with torch.no_grad():
            torch.testing.assert_close(ours(x), peer(x), rtol=1e-4, atol=1e-5)
            ratio = compare(lambda: ours(x), lambda: peer(x), repeats)  # noqa: B023
        yield f"shifted layer, eval, {size} px, window {window}, batch {batch}: roll and mask", ratio, demand
        leaves = [x.requires_grad_(), *ours.parameters()]
        ratio = compare(train(lambda x, *_: ours(x), *leaves), train(lambda x, *_: peer(x), *leaves), repeats)  # noqa: B023
        yield f"shifted layer, training, {size} px, window {window}, batch {batch}: roll and mask", ratio, None


def ragged(repeats: int) -> Iterator[Row]:
    generator = torch.Generator().manual_seed(0)
    cases = (
        ("200 of 1 to 60", (1, 61, 200), 1.2),
        ("64 of 60 to 70", (60, 71, 64), 0.9),
        ("800 of 1 to 12", (1, 13, 800), 0.9),
        ("16 of 200 to 400", (200, 401, 16), 1.2),
        ("100 of 1 to 200", (1, 201, 100), 1.2),
    )
    for name, (low, high, count), demand in cases:
        lengths = torch.randint(low, high, (count,), generator=generator).tolist()
        x = Ragged.of([torch.zeros(n, 1) for n in lengths])
        q, k, v = (torch.randn(sum(lengths), 4, 32) for _ in range(3))
        mask = pad(x)[1]
        places = mask.flatten().nonzero()[:, 0]

        def pad_all(q: Tensor, k: Tensor, v: Tensor, real: Tensor = mask, places: Tensor = places) -> Tensor:
            dense = (t.new_zeros(real.numel(), 4, 32).index_copy(0, places, t) for t in (q, k, v))
            heads = (t.view(*real.shape, 4, 32).transpose(1, 2) for t in dense)
            y = F.scaled_dot_product_attention(*heads, real[:, None, None])
            return y.transpose(1, 2).flatten(0, 1).index_select(0, places)

        def ours(q: Tensor, k: Tensor, v: Tensor, x: Ragged = x) -> Tensor:
            return attend_ragged(q, k, v, x, x)

        torch.testing.assert_close(ours(q, k, v), pad_all(q, k, v), rtol=1e-4, atol=1e-5)
        with torch.no_grad():
            yield (
                f"ragged, eval, {name}: pad all",
                compare(partial(ours, q, k, v), partial(pad_all, q, k, v), repeats),
                0.9,
            )
        leaves = [t.requires_grad_() for t in (q, k, v)]
        yield (
            f"ragged, training, {name}: pad all",
            compare(train(ours, *leaves), train(pad_all, *leaves), repeats),
            demand,
        )


def convolution(repeats: int) -> Iterator[Row]:
    for name, shape, kernel in (
        ("map 56, C 64, k 3", (2, 56, 56, 64), (3, 3)),
        ("map 28, C 128, k 7", (2, 28, 28, 128), (7, 7)),
        ("sequence 512, C 256, k 4", (4, 512, 256), (4,)),
        ("sequence 512, C 256, k 17", (4, 512, 256), (17,)),
    ):
        x, weight = torch.randn(shape), torch.randn(shape[-1], 1, *kernel)
        convolve = F.conv1d if len(kernel) == 1 else F.conv2d

        def copied(x: Tensor, weight: Tensor, convolve=convolve, kernel: tuple[int, ...] = kernel) -> Tensor:
            sides = [n for size in reversed(kernel) for n in ((size - 1) // 2, size // 2)]
            y = convolve(F.pad(x.movedim(-1, 1).contiguous(), sides), weight, groups=x.shape[-1])
            return y.movedim(1, -1).contiguous()

        torch.testing.assert_close(depthwise(x, weight), copied(x, weight), rtol=1e-4, atol=1e-4)
        with torch.no_grad():
            ratio = compare(lambda: depthwise(x, weight), lambda: copied(x, weight), repeats)  # noqa: B023
        yield f"depthwise, eval, {name}: convolution copy", ratio, None
        leaves = [x.requires_grad_(), weight.requires_grad_()]
        yield (
            f"depthwise, training, {name}: convolution copy",
            compare(train(depthwise, *leaves), train(copied, *leaves), repeats),
            None,
        )


GROUPS = {
    "linear": linear,
    "window_op": window_op,
    "window_layer": window_layer,
    "ragged": ragged,
    "convolution": convolution,
}


def main(arguments: list[str] | None = None) -> int:
    """1 where a ratio falls short of its demand."""
    parser = argparse.ArgumentParser("python -m benchmarks.core_ops", description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(GROUPS)}; all by default")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    short = []
    with single_thread():
        for name in options.groups or GROUPS:
            short += report(name.replace("_", " "), GROUPS[name](options.repeats))
    print(f"{len(short)} short of what is demanded" + "".join(f"\n  {name}" for name in short))
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
