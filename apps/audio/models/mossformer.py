"""MossFormer (Zhao & Ma 2023, arXiv 2302.11824) and MossFormer2 (Zhao et al. 2024, arXiv 2312.11825).

Both are a mask network between a learned filter bank and its inverse (`waveform`); the separator is a stack of layers
of joint local and global attention, in MossFormer2 each followed by a gated memory (`layers`).  For 2 and 3 speakers at
8 and 16 kHz; 16 samples a frame, 8 a step at either rate.

    MossFormer     dim   depth   parameters (2 speakers)
    small          256   23      10.8 M    the paper has 10.8 M
    medium         384   25      25.2 M    the paper has 25.3 M
    large          512   24      42.1 M
    MossFormer2    512   24      55.7 M

Of the small and the medium MossFormer only the number of parameters is published; dim and depth are those that come
near.  Rates of dropout: the releases have 0.1 everywhere, whatever their configuration says.
"""

__all__ = ["MossFormer", "MossFormer2", "mossformer2", "mossformer_large", "mossformer_medium", "mossformer_small"]

from collections.abc import Callable

from torch import nn

from apps.audio.models.layers import LayerStack, MossFormer2Layer, MossFormerLayer
from apps.audio.models.waveform import MaskNetwork, SeparationNetwork
from core.norms import GlobalNorm


class MossFormer(SeparationNetwork):
    """Separation by joint attention.

    Args:
        dim: width of the layers.
        depth: number of layers.
        speakers: waveforms out.
        channels: filters of the encoder; dim by default.
        kernel: samples of a frame.
        stride: samples from one frame to the next; half a kernel by default.
        hidden: width of the two values together; 4 dim by default.
        key_dim: width of queries and keys.
        group: frames of a local group.
        norm: builds the normalisation over time from a width: `GlobalNorm`, `FrameNorm`, `InstanceNorm` of
            `core.norms`, or another one called with (B, T, C) and a mask (B, T).
        causal: attention and convolutions do not look ahead; with `FrameNorm` nothing in the network does, but for
            the frame itself.
        dropout: rate in the layers.
        recompute: activation checkpointing, a layer at a time.
        spectral: encoder and decoder start as a Fourier transform and the mask network sees square roots of frames;
            training from scratch leaves the plateau at 0 dB much earlier. Not in the releases.
        official: as the release where it is wrong: last samples that fill no frame are silent, and with `causal` the
            convolutions look ahead.
    """

    def __init__(
        self,
        dim: int = 512,
        depth: int = 24,
        *,
        speakers: int = 2,
        channels: int | None = None,
        kernel: int = 16,
        stride: int | None = None,
        hidden: int | None = None,
        key_dim: int = 128,
        group: int = 256,
        norm: Callable[[int], nn.Module] = GlobalNorm,
        causal: bool = False,
        dropout: float = 0.1,
        recompute: bool = False,
        spectral: bool = False,
        official: bool = False,
    ) -> None:
        channels = channels or dim
        layers = (
            MossFormerLayer(
                dim, hidden=hidden, key_dim=key_dim, group=group, causal=causal, official=official, dropout=dropout
            )
            for _ in range(depth)
        )
        stack = LayerStack(dim, layers, norm(dim), recompute=recompute)
        masks = MaskNetwork(channels, dim, stack, speakers=speakers, norm=norm, root=spectral)
        super().__init__(masks, channels, kernel=kernel, stride=stride, fourier=spectral, official=official)


class MossFormer2(SeparationNetwork):
    """Separation by joint attention and gated memories.

    Args:
        dim: width of the layers.
        depth: number of layers.
        speakers: waveforms out.
        channels: filters of the encoder; dim by default.
        kernel: samples of a frame.
        stride: samples from one frame to the next; half a kernel by default.
        hidden: width of the two values together; 4 dim by default.
        key_dim: width of queries and keys.
        group: frames of a local group.
        inner: width of the memories.
        order: reach of the memories.
        norm: builds the normalisation over time from a width, as in `MossFormer`.
        dropout: rate in the layers.
        recompute: activation checkpointing, a layer at a time.
        spectral: encoder and decoder start as a Fourier transform and the mask network sees square roots of frames;
            training from scratch leaves the plateau at 0 dB much earlier. Not in the releases.
        mapping: frames are estimated themselves, not masks (the weights `mossformer2-whamr-2spk`).
        official: as the release where it is wrong: last samples that fill no frame are silent.
    """

    def __init__(
        self,
        dim: int = 512,
        depth: int = 24,
        *,
        speakers: int = 2,
        channels: int | None = None,
        kernel: int = 16,
        stride: int | None = None,
        hidden: int | None = None,
        key_dim: int = 128,
        group: int = 256,
        inner: int = 256,
        order: int = 20,
        norm: Callable[[int], nn.Module] = GlobalNorm,
        dropout: float = 0.1,
        recompute: bool = False,
        spectral: bool = False,
        mapping: bool = False,
        official: bool = False,
    ) -> None:
        channels = channels or dim
        layers = (
            MossFormer2Layer(
                dim, hidden=hidden, key_dim=key_dim, group=group, inner=inner, order=order, dropout=dropout
            )
            for _ in range(depth)
        )
        stack = LayerStack(dim, layers, norm(dim), recompute=recompute)
        masks = MaskNetwork(channels, dim, stack, speakers=speakers, norm=norm, root=spectral)
        super().__init__(
            masks, channels, kernel=kernel, stride=stride, mapping=mapping, fourier=spectral, official=official
        )


def mossformer_small(speakers: int = 2) -> MossFormer:
    """MossFormer of about the size that the paper calls S."""
    return MossFormer(256, 23, speakers=speakers)


def mossformer_medium(speakers: int = 2) -> MossFormer:
    """MossFormer of about the size that the paper calls M."""
    return MossFormer(384, 25, speakers=speakers)


def mossformer_large(speakers: int = 2) -> MossFormer:
    """MossFormer (L), as released for WSJ0-2mix."""
    return MossFormer(512, 24, speakers=speakers)


def mossformer2(speakers: int = 2, *, mapping: bool = False) -> MossFormer2:
    """MossFormer2, as released for WSJ0-3mix, Libri2Mix and, with `mapping`, WHAMR!."""
    return MossFormer2(512, 24, speakers=speakers, mapping=mapping)
