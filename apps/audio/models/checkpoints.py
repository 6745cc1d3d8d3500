"""Weights of the releases into the networks here: `load_release(mossformer2(), "mossformer2-librimix-2spk")`.

    alibabasglab/MossFormer2    a folder with encoder.ckpt, masknet.ckpt and decoder.ckpt, or one model.safetensors
    ClearerVoice-Studio         one file {"model": ...}, perhaps with a `module.` prefix, or its folder, whose file
                                last_best_checkpoint (or last_checkpoint) names it
    modelscope (MossFormer)     a folder with encoder.bin, masknet.bin and decoder.bin
    SpeechBrain                 DPRNN and SepFormer: a folder with encoder.ckpt, masknet.ckpt and decoder.ckpt
    torchaudio                  Conv-TasNet: one file, the state dict

Frequency tables in the files are rebuilt; `export` writes MossFormer and MossFormer2 the other way.  What does not fit
is said in one sentence.  Whether a network estimates masks or frames (`mapping`) does not stand in the weights: those
called whamr need `mossformer2(mapping=True)`.
"""

__all__ = ["load_release", "read_release"]

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from apps.audio.models.conv_tasnet import ConvTasNet
from apps.audio.models.dprnn import DPRNN
from apps.audio.models.mossformer import MossFormer, MossFormer2
from apps.audio.models.names_baselines import DPRNN_SPEECHBRAIN, SEPFORMER_SPEECHBRAIN, TORCHAUDIO
from apps.audio.models.names_mossformer import MODELSCOPE, mossformer2_mapping
from apps.audio.models.sepformer import SepFormer
from apps.audio.models.waveform import SeparationNetwork
from core.checkpoint import Mapping, load, read
from core.errors import UserError

# The official names of a network, by its class.
MAPPINGS: dict[type, Callable[[dict[str, Tensor]], Mapping]] = {
    ConvTasNet: lambda official: TORCHAUDIO,
    DPRNN: lambda official: DPRNN_SPEECHBRAIN,
    MossFormer: lambda official: MODELSCOPE,
    MossFormer2: mossformer2_mapping,
    SepFormer: lambda official: SEPFORMER_SPEECHBRAIN,
}
# Names that only weights of a class have, the first that is found counting.
_MARKS = {
    ".fsmn.": MossFormer2,
    ".mossformerM.": MossFormer,
    "mask_generator.": ConvTasNet,
    ".mdl.rnn.": DPRNN,
    ".self_att.": SepFormer,
}
# Where a release splits frames into speakers: (speakers x width, width), or (speakers x width of the encoder, ...).
_SPLITS = ("conv1d_out.weight", "masknet.conv2d.weight")
# The parts of a release in several files, with what each release calls the middle one.
_PARTS = (
    {"encoder.ckpt": "encoder.", "masknet.ckpt": "masknet.", "decoder.ckpt": "decoder."},
    {"encoder.bin": "encoder.", "masknet.bin": "mask_net.", "decoder.bin": "decoder."},
)
_NAMED_BY = ("last_best_checkpoint", "last_checkpoint")
_WHOLE = ("model.safetensors",)


def load_release(network: SeparationNetwork, path: str | Path) -> None:
    """Fills a network in place.

    Args:
        network: of a class in `MAPPINGS`, built with the release's sizes.
        path: a release's file or folder, read without executing what may be pickled in it.

    Raises:
        UserError: nothing there that is a release, or one of other sizes, another number of speakers or another class.
    """
    path = Path(path)
    if type(network) not in MAPPINGS:
        known = ", ".join(sorted(cls.__name__ for cls in MAPPINGS))
        raise UserError(f"{type(network).__name__}: no release of it is known; weights can be loaded into {known}.")
    official = read_release(path)
    _check_kind(network, official, path.name)
    load(network, official, MAPPINGS[type(network)](official), f"checkpoint {path.name}")


def read_release(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a release under their official names, the parts of a folder put together.

    Raises:
        UserError: no such file or folder, a folder without a release, or an unreadable file.
    """
    path = Path(path)
    if not path.is_dir():
        return read(path)
    for parts in _PARTS:
        there = [name for name in parts if (path / name).is_file()]
        if there and len(there) < len(parts):
            lacking = next(name for name in parts if name not in there)
            raise UserError(f"{path}: {lacking} is missing beside {there[0]}; download the release's folder again.")
        if there:
            files = {prefix: read(path / name) for name, prefix in parts.items()}
            return {f"{prefix}{key}": tensor for prefix, part in files.items() for key, tensor in part.items()}
    for name in _WHOLE:
        if (path / name).is_file():
            return read(path / name)
    for name in _NAMED_BY:
        if (path / name).is_file():
            # A name, not a path: what lies elsewhere is not this release's.
            return read(path / Path((path / name).read_text().strip()).name)
    raise UserError(
        f"{path}: holds no release (encoder.ckpt, masknet.ckpt and decoder.ckpt, the same as .bin, model.safetensors "
        "or last_best_checkpoint); give the folder of one, or its file."
    )


def _check_kind(network: SeparationNetwork, official: dict[str, Tensor], name: str) -> None:
    """Class, speakers and width, which are what people mix up."""
    kind = next((cls for mark, cls in _MARKS.items() if any(mark in key for key in official)), type(network))
    if not isinstance(network, kind):
        theirs, ours = kind.__name__, type(network).__name__
        raise UserError(f"checkpoint {name} holds weights of {theirs} but the model is a {ours}; use that class.")
    if isinstance(network, ConvTasNet):
        speakers, dim = _sizes_of_conv_tasnet(official)
    else:
        split = next((tensor for key, tensor in official.items() if key.endswith(_SPLITS)), None)
        speakers, dim = (None, None) if split is None else (split.shape[0] // split.shape[1], split.shape[1])
    masks: Any = network.masks
    if dim not in (None, masks.dim):
        raise UserError(
            f"checkpoint {name} holds weights of width {dim} but the model has width {masks.dim}; "
            f"build it with dim={dim}."
        )
    if speakers not in (None, masks.speakers):
        raise UserError(
            f"checkpoint {name} separates {speakers} speakers but the model is built for {masks.speakers}; "
            f"build it with speakers={speakers}."
        )


def _sizes_of_conv_tasnet(official: dict[str, Tensor]) -> tuple[int | None, int | None]:
    """Speakers and width."""
    encoder, last = official.get("encoder.weight"), official.get("mask_generator.output_conv.weight")
    if encoder is None or last is None:
        return None, None
    return last.shape[0] // encoder.shape[0], last.shape[1]
