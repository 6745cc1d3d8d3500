"""Recordings of any length: overlapping chunks, the speakers followed from each to the next, joined without seams.

A network gives its outputs in any order, so each chunk's must be put into the order of those before. Chunks of `window`
samples share `overlap` with the one before; C_ij = <new_i, old_j> over what they share, and the assignment with the
largest sum is taken. It tells two speakers i, j apart by how much it would lose if they were exchanged. Where both are
silent it loses nothing, and more is looked at:

    1. the chunk again with a whole window of the past in front, compared over that too;
    2. the sound of the voices: mean log spectra of what each speaker has said in all the recording so far.

Over the middle half of what they share one chunk fades into the next; the weights add up to one, the outer quarters,
where a network sees only one side, do not count. The last chunk ends where the recording ends and is as long as the
others. What is kept is two windows of the recording and of the results, however long it is.

Networks trained on SI-SDR give any level, each chunk its own. `fit_gain` finds each speaker's by least squares, so that
they add up to the mixture as well as they can; `consistent` makes them add up exactly.

A recording not longer than the window is one chunk: exactly what the network (and the fit) make of it. Streaming in the
sense of low latency this is not: a result appears a window after its sound.
"""

__all__ = ["Separated", "consistent", "fit_gain", "separate", "separate_file", "stream"]

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from apps.audio.data.streams import Recording, WaveWriters, resampled
from apps.audio.tracking import SURE, Tracker
from core.errors import UserError

Network = Callable[[Tensor], Tensor]
Fit = Callable[[Tensor, Tensor], Tensor]

WEAK = 1e-3


class Separated(NamedTuple):
    """What was made of a file: samples of each speaker, and the factor at most 1 that kept them from clipping."""

    frames: int
    factor: float


def fit_gain(mixture: Tensor, estimates: Tensor) -> Tensor:
    """Estimates (S, T) at the levels at which they add up to the mixture (T,) with the least square error.

    A thousandth of each speaker's energy pulls its level to the one that fits all together: where two estimates are
    alike, the mixture does not tell their levels.
    """
    m, e = mixture.double(), estimates.double()
    together = e.sum(0)
    tiny = torch.finfo(torch.float64).tiny
    common = (m @ together) / (together @ together).clamp(min=tiny)
    gram = e @ e.T
    weight = WEAK * gram.diagonal() + max(1e-12 * float(gram.trace()), tiny)
    gains = torch.linalg.solve(gram + torch.diag(weight), e @ m + weight * common)
    return estimates * gains.to(estimates)[:, None]


def consistent(mixture: Tensor, estimates: Tensor) -> Tensor:
    """`fit_gain`, and what is left of the mixture given to the speakers in proportion to their energy: they add
    up to it.

    For recordings without noise; noise would become part of the voices.
    """
    estimates = fit_gain(mixture, estimates)
    energy = estimates.double().square().sum(1)
    total = energy.sum()
    share = torch.where(total > 0, energy / total.clamp(min=1e-300), torch.full_like(energy, 1 / len(energy)))
    return estimates + share.to(estimates)[:, None] * (mixture - estimates.sum(0))


def separate(
    network: Network,
    mixture: Tensor,
    *,
    window: int,
    overlap: int | None = None,
    fit: Fit | None = fit_gain,
    progress: str | None = None,
) -> Tensor:
    """A recording in memory; see `stream`.

    Args:
        mixture: (T,), T at least 1.

    Returns:
        (S, T) float32.
    """
    if mixture.dim() != 1 or not len(mixture):
        raise ValueError(f"separate: expected one mixture (T,), got {tuple(mixture.shape)}.")
    parts = stream(network, [mixture], window=window, overlap=overlap, fit=fit, total=len(mixture), progress=progress)
    return torch.cat(list(parts), -1)


# As a decorator: a context inside of the generator would also hold for whoever takes its pieces.
@torch.no_grad()
def stream(
    network: Network,
    blocks: Iterable[Tensor],
    *,
    window: int,
    overlap: int | None = None,
    fit: Fit | None = fit_gain,
    total: int | None = None,
    progress: str | None = None,
) -> Iterator[Tensor]:
    """A recording that comes and goes in pieces.

    Args:
        network: (1, T) -> (1, S, T) for any T.
        blocks: (n,) each, of any lengths, where the network is.
        window: samples of a chunk.
        overlap: that it shares with the one before, at most half of it; half by default.
        fit: of a chunk's estimates to its mixture: `fit_gain`, `consistent`, one of your own, or None.
        total: length of the recording if it is known, for the progress bar.
        progress: name of the bar, shown when it takes more than two seconds.

    Yields:
        (S, n) float32, together as long as the recording.

    Raises:
        ValueError: sizes that do not fit, or a network that gives another shape.
        UserError: it gives NaN.
    """
    overlap = window // 2 if overlap is None else overlap
    if not 1 <= overlap <= window // 2:
        raise ValueError(f"stream: overlap {overlap} must be 1 to half of the window of {window} samples.")
    with tqdm(total=total, desc=progress, delay=2, leave=False, disable=progress is None, unit_scale=True) as bar:
        join = _Join(lambda mixture: _run(network, mixture, fit), window, overlap)
        held: Tensor | None = None
        for block in blocks:
            held = block if held is None else torch.cat([held, block])
            # A chunk is made when more than it is there: the last one must end where the recording ends.
            while len(held) > window:
                yield join.add(held[:window])
                held = held[window - overlap :]
                bar.update(window - overlap)
        if held is not None and len(held):
            yield join.last(held)
            bar.update(len(held))


def separate_file(
    network: Network,
    path: str | Path,
    targets: Sequence[str | Path],
    sample_rate: int,
    *,
    seconds: float = 8.0,
    overlap: float | None = None,
    fit: Fit | None = fit_gain,
    device: torch.device | str = "cpu",
    progress: str | None = None,
) -> Separated:
    """A file into a file for each speaker, of the same rate, length and sample format, in bounded memory.

    Args:
        network: (1, T) -> (1, S, T) at `sample_rate`.
        path: the recording; several channels are mixed down, other rates resampled there and back.
        targets: S files to write, all or none; replaced if they are there.
        sample_rate: of the network.
        seconds: window of a chunk.
        overlap: seconds shared by chunks; half of the window by default.
        fit: see `stream`.
        device: where the network is.
        progress: name of a progress bar.

    Raises:
        UserError: a recording that cannot be used, targets that cannot be written, a network that gives NaN.
    """
    recording = Recording(path, sample_rate)
    window = max(2, round(seconds * sample_rate))
    shared = window // 2 if overlap is None else round(overlap * sample_rate)
    info = recording.info
    with WaveWriters(targets, info.sample_rate, info.subtype) as writers:
        blocks = (torch.from_numpy(block).to(device) for block in recording.blocks())
        parts = stream(
            network, blocks, window=window, overlap=shared, fit=fit, total=recording.frames, progress=progress
        )
        for block in resampled((part.cpu().numpy() for part in parts), sample_rate, info.sample_rate):
            # There and back rounds the length up twice.
            writers.write(block[:, : info.frames - writers.frames])
    return Separated(writers.frames, writers.factor)


class _Join:
    """Chunks in, finished samples out.

    Args:
        run: estimates (S, T) of a mixture (T,).
        window, overlap: as in `stream`.
    """

    def __init__(self, run: Network, window: int, overlap: int):
        self.run, self.window, self.overlap = run, window, overlap
        self.tracker = Tracker()
        # The newest samples of the recording and of the results, the last `overlap` of which are not given out.
        self.past: Tensor | None = None
        self.done: Tensor | None = None
        x = (torch.arange(overlap) + 0.5) / overlap
        self.fade = 0.5 - 0.5 * torch.cos(torch.pi * ((x - 0.25) / 0.5).clamp(0, 1))

    def add(self, mixture: Tensor) -> Tensor:
        """A chunk with more behind it; all but its last `overlap` samples are given out."""
        made = self._made(mixture, self.overlap)
        return made[:, : made.shape[1] - self.overlap]

    def last(self, mixture: Tensor) -> Tensor:
        """What is left of the recording, the overlap with the chunk before included."""
        if self.past is None:
            return self.run(mixture)
        behind = self.window - len(mixture)
        whole = torch.cat([self.past[len(self.past) - self.overlap - behind :], mixture[self.overlap :]])
        return self._made(whole, self.overlap + behind)

    def _made(self, mixture: Tensor, shared: int) -> Tensor:
        """Everything from the first sample that was not given out yet to the end of this chunk."""
        if self.past is None or self.done is None:
            estimates = new = self.run(mixture)
            self.tracker.hear(estimates)
            self.past, self.done = mixture, estimates
            return new
        estimates = self._in_order(mixture, shared)
        fade = self.fade.to(estimates)
        tail, over = self.done[:, -self.overlap :], estimates[:, shared - self.overlap : shared]
        new = torch.cat([tail + fade * (over - tail), estimates[:, shared:]], 1)
        self.tracker.hear(estimates[:, shared:])
        kept = self.window + self.overlap
        self.past = torch.cat([self.past, mixture[shared:]])[-kept:]
        self.done = torch.cat([self.done[:, : -self.overlap], new], 1)[:, -kept:]
        return new

    def _in_order(self, mixture: Tensor, shared: int) -> Tensor:
        """Estimates of a chunk in the order of those before."""
        assert self.past is not None and self.done is not None
        estimates = self.run(mixture)
        if len(estimates) == 1:
            return estimates
        match = self.tracker.match(estimates[:, :shared], self.done[:, -shared:])
        if match.sure >= SURE:
            return estimates[match.order]
        back = min(self.window, self.done.shape[1] - shared)
        if back and self.tracker.speaks(estimates):
            first = len(self.past) - shared - back
            longer = self.run(torch.cat([self.past[first : first + back], mixture]))
            again = self.tracker.match(longer[:, : back + shared], self.done[:, -(back + shared) :])
            if again.sure > match.sure:
                estimates, match = longer[:, back:], again
        order = match.order if match.sure >= SURE else self.tracker.recognise(estimates, match)
        return estimates[order]


def _run(network: Network, mixture: Tensor, fit: Fit | None) -> Tensor:
    """(S, T) float32 of one chunk."""
    made = network(mixture[None])
    if made.dim() != 3 or len(made) != 1 or made.shape[-1] != len(mixture):
        raise ValueError(
            f"stream: the network made {tuple(made.shape)} of (1, {len(mixture)}); it must give (1, S, T)."
        )
    estimates = made[0].float()
    if not bool(estimates.isfinite().all()):
        raise UserError(
            "the network gives NaN or infinite samples; its weights are broken: train again with a lower learning "
            "rate, or take another checkpoint."
        )
    return estimates if fit is None else fit(mixture, estimates)
