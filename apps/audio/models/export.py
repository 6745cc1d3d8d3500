"""Networks trained here into the files of a release, the way back of `load_release`:

    export_release(network, "weights/mine", STANDALONE)

    STANDALONE      MossFormer2 as alibabasglab/MossFormer2 reads it: encoder.ckpt, masknet.ckpt, decoder.ckpt
    CLEARERVOICE    MossFormer2 as ClearerVoice-Studio reads it: last_best_checkpoint and the file it names
    MODELSCOPE      MossFormer as modelscope reads it: encoder.bin, masknet.bin, decoder.bin

Every rule of a mapping puts numbers in other places and changes none, so that a file is found by sending their places
through the mapping.  Tables of frequencies, which the releases want in their files, are computed.  Norms over time are
written as their `ln`; sizes that a release has no option for are its own business.
"""

__all__ = ["CLEARERVOICE", "MODELSCOPE", "STANDALONE", "Layout", "export_release", "official_tensors"]

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from apps.audio.models import names_mossformer as names
from apps.audio.models.mossformer import MossFormer, MossFormer2
from core.checkpoint import Mapping
from core.errors import UserError
from core.norms import GlobalNorm


@dataclass(frozen=True)
class Layout:
    """How a release names and files its tensors.

    Attributes:
        network: the class it holds.
        mapping: its names to ours.
        scheme: of `names_mossformer.SCHEMES`.
        parts: what names of encoder, mask network and decoder begin with.
        files: one for each part, or the file that holds all, below "model", and the one that names it.
    """

    network: type[MossFormer] | type[MossFormer2]
    mapping: Mapping
    scheme: str
    parts: tuple[str, str, str]
    files: tuple[str, ...]


STANDALONE = Layout(
    MossFormer2,
    names.STANDALONE,
    "standalone",
    ("encoder.", "masknet.", "decoder."),
    ("encoder.ckpt", "masknet.ckpt", "decoder.ckpt"),
)
CLEARERVOICE = Layout(
    MossFormer2,
    names.CLEARERVOICE,
    "clearervoice",
    ("enc.", "mask_net.", "dec."),
    ("last_best_checkpoint.pt", "last_best_checkpoint"),
)
MODELSCOPE = Layout(
    MossFormer,
    names.MODELSCOPE,
    "modelscope",
    ("encoder.", "mask_net.", "decoder."),
    ("encoder.bin", "masknet.bin", "decoder.bin"),
)


def export_release(network: MossFormer | MossFormer2, folder: str | Path, layout: Layout) -> None:
    """Writes a release; the folder appears whole or not at all.

    Args:
        network: of the layout's class.
        folder: new, or empty.
        layout: STANDALONE, CLEARERVOICE or MODELSCOPE.

    Raises:
        UserError: another class of network, norms with statistics of their own, or a folder that holds something.
    """
    folder = Path(folder)
    tensors = official_tensors(network, layout)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: holds something already; name a new folder for the release.")
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    beside.mkdir(parents=True)
    try:
        if len(layout.files) == len(layout.parts):
            for name, prefix in zip(layout.files, layout.parts, strict=True):
                own = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
                torch.save(own, beside / name)
        else:
            torch.save({"model": tensors}, beside / layout.files[0])
            (beside / layout.files[1]).write_text(layout.files[0] + "\n")
        beside.replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def official_tensors(network: MossFormer | MossFormer2, layout: Layout) -> dict[str, Tensor]:
    """The network's weights under the names and in the shapes of a release.

    Raises:
        UserError: another class of network, or norms with statistics of their own.
    """
    if type(network) is not layout.network:
        wanted, given = layout.network.__name__, type(network).__name__
        raise UserError(f"{given}: this release holds a {wanted}; choose the layout of a {given}.")
    separator: Any = network.masks.separator
    if type(separator.norm) is not GlobalNorm or type(network.masks.norm) is not GlobalNorm:
        raise UserError(f"{type(separator.norm).__name__}: only networks with GlobalNorm are written as a release.")
    shapes = dict(_shapes(network, layout))
    # Every number of the release gets a number, which says where in the release ours belongs.
    total, numbered = 0, {}
    for name, shape in shapes.items():
        count = torch.Size(shape).numel()
        numbered[name] = torch.arange(total, total + count).view(shape)
        total += count
    state = network.state_dict()
    places = layout.mapping(numbered)
    made = torch.empty(total)
    filled = torch.zeros(total, dtype=torch.bool)
    for name, place in places.items():
        if place.shape != state[name].shape:
            raise ValueError(f"{name}: {tuple(state[name].shape)} here, {tuple(place.shape)} in the release")
        made[place.flatten()] = state[name].detach().cpu().float().flatten()
        filled[place.flatten()] = True
    if places.keys() != state.keys() or not filled.all():
        raise ValueError("the layout does not hold every number of the network")
    parts = made.split([torch.Size(shape).numel() for shape in shapes.values()])
    official = {name: part.view(shape).clone() for (name, shape), part in zip(shapes.items(), parts, strict=True)}
    return official | dict(_tables(network, layout))


Shapes = Iterator[tuple[str, tuple[int, ...]]]


def _shapes(network: MossFormer | MossFormer2, layout: Layout) -> Shapes:
    masks: Any = network.masks
    channels, kernel = network.encoder.shape
    dim, split = masks.dim, masks.speakers * masks.dim
    encoder, net, decoder = layout.parts
    stack, last, residual = names.SCHEMES[layout.scheme]
    yield f"{encoder}conv1d.weight", (channels, 1, kernel)
    yield f"{decoder}weight", (channels, 1, kernel)
    for name, size in (("norm.", channels), (last, dim), (residual, dim)):
        yield f"{net}{name}weight", (size,)
        yield f"{net}{name}bias", (size,)
    yield f"{net}conv1d_encoder.weight", (dim, channels, 1)
    yield f"{net}pos_enc.scale", (1,)
    yield f"{net}prelu.weight", (1,)
    for name, size in (("conv1d_out.", split), ("output.0.", dim), ("output_gate.0.", dim)):
        yield f"{net}{name}weight", (size, dim, 1)
        yield f"{net}{name}bias", (size,)
    yield f"{net}conv1_decoder.weight", (channels, dim, 1)
    for number, layer in enumerate(masks.separator.layers):
        yield from _attention(f"{net}{stack}layers.{number}.", layer.attention)
        if layout.network is MossFormer2:
            yield from _memory(f"{net}{stack}fsmn.{number}.", layer.memory)


def _feed(name: str, feed: Any) -> Shapes:
    """A convolutional feed-forward layer; a norm with one weight is called g."""
    if isinstance(feed.norm, torch.nn.LayerNorm):
        yield f"{name}mdl.0.weight", tuple(feed.norm.weight.shape)
        yield f"{name}mdl.0.bias", tuple(feed.norm.bias.shape)
    else:
        yield f"{name}mdl.0.g", (1,)
    yield f"{name}mdl.1.weight", tuple(feed.linear.weight.shape)
    yield f"{name}mdl.1.bias", tuple(feed.linear.bias.shape)
    yield f"{name}mdl.3.sequential.1.conv.weight", tuple(feed.conv.shape)


def _attention(name: str, attention: Any) -> Shapes:
    for part, feed in (("to_hidden.", attention.values), ("to_qk.", attention.keys), ("to_out.", attention.out)):
        yield from _feed(f"{name}{part}", feed)
    yield f"{name}qk_offset_scale.gamma", tuple(attention.scale.shape)
    yield f"{name}qk_offset_scale.beta", tuple(attention.offset.shape)


def _memory(name: str, memory: Any) -> Shapes:
    inner, dim = memory.enter.weight.shape
    yield f"{name}conv1.0.weight", (inner, dim, 1)
    yield f"{name}conv1.0.bias", (inner,)
    yield f"{name}conv1.1.weight", (1,)
    yield f"{name}conv2.weight", (dim, inner, 1)
    yield f"{name}conv2.bias", (dim,)
    for norm in ("norm1.", "norm2."):
        yield f"{name}{norm}weight", (inner,)
        yield f"{name}{norm}bias", (inner,)
    for part, feed in (("to_u.", memory.to_memory), ("to_v.", memory.to_gate)):
        yield from _feed(f"{name}gated_fsmn.{part}", feed)
    inside = f"{name}gated_fsmn.fsmn."
    yield f"{inside}linear.weight", tuple(memory.memory.enter.weight.shape)
    yield f"{inside}linear.bias", tuple(memory.memory.enter.bias.shape)
    yield f"{inside}project.weight", tuple(memory.memory.leave.weight.shape)
    for number, kernel in enumerate(memory.memory.convs, 1):
        yield f"{inside}conv.conv{number}.weight", (inner, number, kernel.shape[-1], 1)
        for part in ("norm{}.weight", "norm{}.bias", "prelu{}.weight"):
            yield f"{inside}conv.{part.format(number)}", (inner,)


def _tables(network: MossFormer | MossFormer2, layout: Layout) -> Iterator[tuple[str, Tensor]]:
    masks: Any = network.masks
    net, stack = layout.parts[1], names.SCHEMES[layout.scheme][0]
    yield f"{net}pos_enc.inv_freq", _frequencies(masks.dim)
    for number, layer in enumerate(masks.separator.layers):
        rotated = min(32, layer.attention.scale.shape[-1])
        yield f"{net}{stack}layers.{number}.rotary_pos_emb.freqs", _frequencies(rotated)


def _frequencies(dim: int) -> Tensor:
    return 1.0 / 10000 ** (torch.arange(0, dim, 2).float() / dim)
