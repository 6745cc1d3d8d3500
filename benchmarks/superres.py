"""Super-resolution beside its peers: `python -m benchmarks superres`, one thread, low resolution 64 x 64, x4.

    networks   inference of whole networks against the classes of spandrel, which run the releases' operations
    windows    a layer of shifted windows, and a block of overlapping ones, against spandrel's
    memory     peak memory of a training step, each side in a process of its own

Both sides have the same weights, and their outputs are compared before anything is timed.  Where spandrel is not
installed, its rows are left out.
"""

__all__ = ["GROUPS"]

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from apps.vision.superres.models.drct import drct
from apps.vision.superres.models.goldens_drct import drct_mapping
from apps.vision.superres.models.goldens_hat import hat_mapping, overlapping_rules
from apps.vision.superres.models.goldens_swinir import swinir_mapping, thirds
from apps.vision.superres.models.hat import hat, hat_small
from apps.vision.superres.models.hat_layers import overlapping_block
from apps.vision.superres.models.swinir import swinir, swinir_light
from benchmarks.harness import Ratio, compare
from benchmarks.peers.superres import release
from core.checkpoint import Mapping, load, same
from core.mixers import WindowAttention

Row = tuple[str, Ratio, float | None]

# Name, our variant, its mapping, demanded.
NETWORKS: tuple[tuple[str, Callable[[int], nn.Module], Callable[..., Mapping], float | None], ...] = (
    ("HAT-S", hat_small, hat_mapping, 2.0),
    ("HAT", hat, hat_mapping, 1.75),
    ("DRCT", drct, drct_mapping, 1.5),
    ("SwinIR", swinir, swinir_mapping, None),
    ("SwinIR light", swinir_light, swinir_mapping, None),
)


def has_peer(what: str) -> bool:
    """Whether spandrel is there; says what is left out otherwise."""
    if find_spec("spandrel") is not None:
        return True
    print(f"{what} is left out: its peer spandrel is not installed.\n")
    return False


def inference(ours: nn.Module, peer: nn.Module, mapping: Mapping, x: Tensor, repeats: int) -> Ratio:
    """The ratio of two networks with equal weights, whose outputs agree to 1e-5."""
    load(ours, peer.state_dict(), mapping)
    ours.eval()
    peer.eval()
    with torch.no_grad():
        mine, theirs = ours(x), peer(x)
        error = ((mine - theirs).norm() / theirs.norm()).item()
        if not error < 1e-5:
            raise AssertionError(f"outputs differ by {error:.1e}")
        return compare(lambda: ours(x), lambda: peer(x), repeats)


def networks(repeats: int) -> Iterator[Row]:
    """Seconds a turn: a third of the turns, three at least."""
    if has_peer("Inference of SwinIR, HAT and DRCT"):
        for name, make, mapping, demand in NETWORKS:
            ours = make(4)
            x = torch.rand(1, 3, 64, 64)
            ratio = inference(ours, release(name), mapping(ours), x, max(3, repeats // 3))
            yield f"{name}, inference, 64 x 64, x4: spandrel", ratio, demand


class Tokens(nn.Module):
    """A module of maps that is called with flat tokens and their size, as the releases' blocks are."""

    def __init__(self, inner: nn.Module, *given: object) -> None:
        super().__init__()
        self.inner = inner
        self.given = given

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.flatten(1, 2), *self.given).view(x.shape)


class RolledWindows(nn.Module):
    """Roll, cut, the release's attention with bias and mask, put together, roll back."""

    def __init__(self, attention: nn.Module, window: int, index: Tensor, mask: Tensor) -> None:
        super().__init__()
        self.attention, self.window, self.index, self.mask = attention, window, index, mask

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, dim = x.shape
        w = self.window
        x = x.roll((-(w // 2), -(w // 2)), (1, 2))
        x = x.view(batch, height // w, w, width // w, w, dim).permute(0, 1, 3, 2, 4, 5).reshape(-1, w * w, dim)
        y = self.attention(x, self.index, self.mask).view(batch, height // w, width // w, w, w, dim)
        return y.permute(0, 1, 3, 2, 4, 5).reshape(batch, height, width, dim).roll((w // 2, w // 2), (1, 2))


def windows(repeats: int) -> Iterator[Row]:
    if not has_peer("Attention in windows"):
        return
    from spandrel.architectures import HAT as release_of_hat

    arch = sys.modules[release_of_hat.HAT.__module__]
    for dim, demand in ((144, 2.0), (180, None)):
        whole = release("HAT-S" if dim == 144 else "HAT")
        index, reach = whole.relative_position_index_SA, whole.relative_position_index_OCA
        x = torch.randn(1, 64, 64, dim)
        peer = RolledWindows(arch.WindowAttention(dim, (16, 16), 6), 16, index, whole.calculate_mask((64, 64), x.dtype))
        nn.init.normal_(peer.attention.relative_position_bias_table)
        ours = WindowAttention(dim, 6, (16, 16), shift=(8, 8), official=True)
        table = same("groups.score_bias.table", "attention.relative_position_bias_table")
        ratio = inference(ours, peer, Mapping(*thirds("groups.", "attention."), table), x, repeats)
        yield f"shifted windows, 16 of 256 tokens, 6 heads of {dim // 6}: spandrel", ratio, demand
        block = arch.OCAB(dim, (64, 64), 16, 0.5, 6)
        nn.init.normal_(block.relative_position_bias_table)
        mapping = Mapping(*overlapping_rules("", "inner.", 16, 4))
        ratio = inference(overlapping_block(dim, 6, 16, 4), Tokens(block, (64, 64), reach), mapping, x, repeats)
        yield f"overlapping windows (OCAB), 6 heads of {dim // 6}: spandrel", ratio, 2.5 if dim == 144 else None


def memory(repeats: int) -> Iterator[Row]:
    """The ratio of peaks above what the process holds before the step; it hardly varies, so once is enough."""
    if has_peer("Memory of a training step"):
        peaks = {
            side: int(
                subprocess.run(
                    [sys.executable, "-W", "ignore", "-m", "benchmarks.peers.superres", side, "HAT-S"],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
            )
            for side in ("ours", "release")
        }
        ratio = peaks["release"] / peaks["ours"]
        described = ", ".join(f"{side} {peak / 2**20:.0f} MiB" for side, peak in peaks.items())
        yield f"HAT-S, peak memory of a training step, 64 x 64, x4 ({described})", Ratio(ratio, ratio, ratio), 2.0


GROUPS = {"networks": networks, "windows": windows, "memory": memory}
