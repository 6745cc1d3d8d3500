"""Recordings of any length: every swapped speaker put back, no seams, no sample lost, memory that does not grow."""

import itertools
import math
import tracemalloc
import weakref

import numpy as np
import pytest
import soundfile
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from apps.audio.data.public import data_folder
from apps.audio.data.sources import Samples
from apps.audio.data.voices import voice
from apps.audio.data.waves import read_channels, write_wave
from apps.audio.separate import consistent, fit_gain, separate, separate_file, stream
from apps.audio.tracking import Tracker
from core.errors import UserError


class Swapping:
    """A network that knows the answer, and gives it in another order and at other levels for every chunk.

    Args:
        targets: (S, T).
        leak: of all speakers into each.
        gains: range of the level of each output of each chunk.
    """

    def __init__(self, targets, seed=0, leak=0.0, gains=(1.0, 1.0)):
        self.targets, self.mixture = targets, targets.sum(0)
        self.random, self.leak, self.gains = np.random.default_rng(seed), leak, gains
        self.orders, self.lengths = [], []

    def __call__(self, mixture):
        n, values = mixture.shape[1], self.mixture.numpy()
        starts = np.flatnonzero(values[: len(values) - n + 1] == mixture[0, 0].item())
        (start,) = [s for s in starts if np.array_equal(values[s : s + n], mixture[0].numpy())]
        made = self.targets[:, start : start + n]
        made = made + self.leak * (made.sum(0) - made)
        order = self.random.permutation(len(made))
        self.orders.append(tuple(order))
        self.lengths.append(n)
        gain = torch.from_numpy(self.random.uniform(*self.gains, (len(made), 1))).float()
        return (gain * made[order])[None]


def voices(count, frames, seed=0):
    return torch.from_numpy(np.stack([voice(seed, n, 0, frames, 8000) for n in range(count)]))


def swaps(result, targets):
    """How often the assignment of (S, T) changes from one quarter second to another in which two speak."""
    labels = []
    pieces = [x.unfold(1, 2000, 2000).permute(1, 0, 2) for x in (result, targets)]
    for a, b in zip(*pieces, strict=True):
        energy = b.square().mean(1)
        if energy.topk(2).values[1] < 1e-3 * energy.max() or energy.max() < 1e-5:
            continue
        inner = a @ b.T
        labels.append(
            max(
                itertools.permutations(range(len(b))),
                key=lambda p, inner=inner: sum(float(inner[i, j]) for j, i in enumerate(p)),
            )
        )
    assert len(labels) > 5
    return sum(a != b for a, b in itertools.pairwise(labels))


@pytest.mark.parametrize("speakers", [2, 3])
@pytest.mark.parametrize(("window", "overlap"), [(8000, None), (4000, 1000), (2000, 700)])
def test_every_swap_is_undone(speakers, window, overlap):
    targets = voices(speakers, 60000)
    network = Swapping(targets)
    result = separate(network, network.mixture, window=window, overlap=overlap, fit=None)
    assert len(set(network.orders)) == math.factorial(speakers)
    assert swaps(result, targets) == 0
    order = network.orders[0]
    torch.testing.assert_close(result, targets[list(order)], atol=1e-6, rtol=0)


def test_swaps_are_undone_when_outputs_leak_and_levels_change():
    targets = voices(2, 60000)
    network = Swapping(targets, leak=0.2, gains=(0.3, 3.0))
    result = separate(network, network.mixture, window=4000)
    assert swaps(result, targets) == 0
    # Levels are fitted to the mixture: what is left is the leak.
    order = list(network.orders[0])
    error = (result - targets[order]).square().mean() / targets.square().mean()
    assert float(error) < 0.1


@pytest.mark.skipif(not (data_folder("") / "test.csv").is_file(), reason="the 28 mixtures are not on this machine")
@pytest.mark.parametrize("window", [32000, 16000, 8000])
def test_swaps_of_shipped_mixtures_one_after_the_other(window):
    targets = torch.from_numpy(np.concatenate([item.load(8000).targets for item in Samples().items()], 1))
    network = Swapping(targets, leak=0.1, gains=(0.3, 3.0))
    assert swaps(separate(network, network.mixture, window=window), targets) == 0
    assert len(network.orders) >= 1184360 // (window // 2) and len(set(network.orders)) == 2


@pytest.mark.skipif(not (data_folder("") / "test.csv").is_file(), reason="the outputs are not on this machine")
def test_swaps_of_published_outputs_one_after_the_other():
    """The mixtures 00, 09, 24 and 28, with what the published network made of them."""
    items = {item.name: item for item in Samples().items()}
    parts, truth = [], []
    for name in ("00", "09", "24", "28"):
        targets = torch.from_numpy(items[name].load(8000).targets)
        made = torch.from_numpy(read_channels(data_folder("") / "official" / f"{name}.flac")[0])
        made = fit_gain(targets.sum(0), made)
        if (made * targets).sum() < (made.flip(0) * targets).sum():
            made = made.flip(0)
        parts.append(made)
        truth.append(targets)
    outputs, targets = torch.cat(parts, 1), torch.cat(truth, 1)
    network = Swapping(outputs)
    for window in (32000, 16000, 8000):
        network.orders.clear()
        result = separate(network, network.mixture, window=window)
        assert swaps(result, targets) == 0 and len(set(network.orders)) == 2


def test_a_pause_in_what_chunks_share_is_looked_past():
    """Nobody speaks where two chunks meet: the chunk is run again with more of the past."""
    targets = voices(2, 24000)
    targets[:, 4900:6600] = 1e-6 * torch.randn(2, 1700, generator=torch.Generator().manual_seed(0))
    for seed in range(6):
        network = Swapping(targets, seed)
        result = separate(network, network.mixture, window=4000, overlap=1500, fit=None)
        assert swaps(result, targets) == 0 and max(network.lengths) == 8000


def test_after_a_long_silence_voices_are_recognised():
    targets = voices(2, 80000, seed=3)
    targets[:, 32000:48000] = 1e-7 * torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
    for seed in range(6):
        network = Swapping(targets, seed)
        result = separate(network, network.mixture, window=4000, overlap=1000, fit=None)
        assert swaps(result, targets) == 0


def test_a_second_speaker_who_is_silent_for_long():
    targets = voices(2, 48000)
    targets[1, 4000:30000] = 0
    for seed in range(4):
        network = Swapping(targets, seed)
        assert swaps(separate(network, network.mixture, window=4000, fit=None), targets) == 0


def test_nothing_to_tell_is_no_failure():
    """All silent, or two speakers who are the same signal."""
    silent = separate(lambda x: torch.stack([x, 0 * x], 1), torch.zeros(9000), window=2000)
    assert silent.shape == (2, 9000) and silent.abs().max() == 0
    wave = voices(1, 9000)[0]
    same = separate(lambda x: torch.stack([x, x], 1), wave, window=2000)
    torch.testing.assert_close(same, torch.stack([wave, wave]) / 2, atol=1e-5, rtol=0)
    tracker, zeros = Tracker(), torch.zeros(2, 900)
    match = tracker.match(zeros, zeros)
    assert match.sure == 0 and match.scores.abs().max() == 0 and tracker.recognise(zeros, match) == match.order


def halves(x):
    """A network whose output depends on the whole chunk, its length and both neighbours of a sample."""
    wide = torch.nn.functional.pad(x, (1, 1))
    first = 0.5 * x + 0.25 * torch.tanh(wide[:, 2:] - wide[:, :-2]) + 0.01 * x.mean()
    return torch.stack([first, x - first], 1)


@pytest.mark.parametrize("length", [1, 2, 3, 999, 1000])
@pytest.mark.parametrize("fit", [None, fit_gain, consistent])
def test_a_recording_within_the_window_is_what_the_network_makes_of_it(length, fit):
    x = voices(1, 1000)[0, :length]
    alone = halves(x[None])[0]
    expected = alone if fit is None else fit(x, alone)
    assert torch.equal(separate(halves, x, window=1000, fit=fit), expected)


@pytest.mark.parametrize("overlap", [1, 3, 4])
def test_as_long_as_the_recording_whatever_its_length(overlap):
    """From one sample on; the shares of the chunks add up to one, so half of the mixture comes out as that."""
    for length in range(1, 40):
        x = torch.randn(length, generator=torch.Generator().manual_seed(length))
        made = separate(lambda m: torch.stack([0.5 * m, 0.5 * m], 1), x, window=8, overlap=overlap, fit=None)
        torch.testing.assert_close(made, torch.stack([x, x]) / 2)


def test_chunks_are_full_windows_and_their_edges_do_not_count():
    targets = voices(2, 17001)
    known = Swapping(targets)

    def network(x):
        made = known(x).clone()
        made[..., :100] += 0.01
        made[..., -100:] -= 0.01
        return made

    result = separate(network, known.mixture, window=2000, overlap=400, fit=None)
    assert known.lengths.count(2000) >= 10 and set(known.lengths) <= {2000, 4000}
    result = result[list(np.argsort(known.orders[0]))]
    torch.testing.assert_close(result[:, 100:-100], targets[:, 100:-100], atol=1e-6, rtol=0)
    torch.testing.assert_close(result[:, :100], targets[:, :100] + 0.01)


@pytest.mark.parametrize("sizes", [[1], [7, 300], [5000], [400]])
def test_a_stream_gives_the_same_whatever_its_pieces(sizes):
    x = voices(1, 5201)[0]
    whole = separate(halves, x, window=1000)
    pieces, at = [], 0
    while at < len(x):
        pieces.append(x[at : at + sizes[len(pieces) % len(sizes)]])
        at += len(pieces[-1])
    assert torch.equal(torch.cat(list(stream(halves, pieces, window=1000)), 1), whole)
    assert list(stream(halves, [], window=1000)) == []


def test_results_come_while_the_recording_goes_on_in_memory_that_does_not_grow():
    given = []

    def blocks(count):
        for n in range(count):
            given.append(n)
            yield torch.sin(torch.arange(1000) / 7 + n)

    parts = stream(halves, blocks(10), window=2000)
    assert next(parts).shape == (2, 1000) and len(given) == 3

    def living(count):
        """Samples that are alive at the most."""
        with Living() as mode:
            for _ in stream(halves, blocks(count), window=2000):
                pass
        return mode.peak

    assert 0 < living(60) <= living(15)


def test_whoever_takes_the_pieces_keeps_gradients():
    pieces = stream(halves, [torch.randn(500), torch.randn(500)], window=400)
    assert not next(pieces).requires_grad and torch.is_grad_enabled()


def test_levels_are_those_at_which_the_speakers_add_up():
    targets = voices(3, 8000)
    mixture = targets.sum(0)
    fitted = fit_gain(mixture, targets * torch.tensor([[0.1], [7.0], [-2.0]]))
    torch.testing.assert_close(fitted, targets, atol=4e-3, rtol=0)
    # A speaker who is not there is not blown up.
    weak = torch.stack([0.5 * targets[0], 1e-3 * targets[0] + 1e-4 * torch.randn(8000)])
    assert fit_gain(targets[0], weak)[1].abs().max() < 0.01
    assert torch.equal(fit_gain(mixture, torch.zeros(3, 8000)), torch.zeros(3, 8000))
    assert bool(fit_gain(torch.zeros(8000), targets).isfinite().all())


def test_consistent_speakers_add_up_exactly():
    targets = voices(2, 20000)
    mixture = targets.sum(0) + 0.01 * torch.randn(20000, generator=torch.Generator().manual_seed(0))
    network = Swapping(targets, gains=(0.5, 2.0))
    network.mixture = mixture
    result = separate(network, mixture, window=4000, fit=consistent)
    torch.testing.assert_close(result.sum(0), mixture, atol=1e-6, rtol=0)
    assert swaps(result, targets) == 0
    silent = consistent(mixture, torch.zeros(2, 20000))
    torch.testing.assert_close(silent.sum(0), mixture)


def test_what_a_network_must_not_give():
    x = torch.ones(50)
    with pytest.raises(ValueError, match=r"must give \(1, S, T\)"):
        separate(lambda m: m, x, window=10)
    with pytest.raises(ValueError, match=r"must give \(1, S, T\)"):
        separate(lambda m: torch.stack([m, m], 1)[..., 1:], x, window=10)
    with pytest.raises(UserError, match="the network gives NaN or infinite samples"):
        separate(lambda m: torch.stack([m, m], 1) * math.nan, x, window=10)
    for window, overlap in ((10, 6), (10, 0), (1, None)):
        with pytest.raises(ValueError, match="1 to half of the window"):
            separate(halves, x, window=window, overlap=overlap)
    with pytest.raises(ValueError, match=r"one mixture \(T,\)"):
        separate(halves, x[None], window=10)


class Living(TorchDispatchMode):
    """The largest sum of the sizes of tensors that live at one time."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0

    def _gone(self, size):
        self.now -= size

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor):
                self.now += value.numel()
                weakref.finalize(value, self._gone, value.numel())
        self.peak = max(self.peak, self.now)
        return result


def parts(x):
    return torch.stack([0.75 * x, 0.25 * x], 1)


@pytest.mark.filterwarnings("ignore:.*the network works at")
@pytest.mark.parametrize(
    ("rate", "frames"), [(8000, 1), (8000, 20001), (44100, 1), (44100, 60013), (16000, 33333), (11025, 17)]
)
def test_files_of_any_rate_and_length(tmp_path, rate, frames):
    tone = 0.3 * np.sin(2 * np.pi * 300 * np.arange(frames) / rate).astype(np.float32)
    write_wave(tmp_path / "mix.wav", np.stack([tone, tone]), rate, "PCM_24")
    targets = [tmp_path / "out" / f"mix_speaker{n}.wav" for n in (1, 2)]
    with pytest.warns(UserWarning, match="2 channels are mixed down"):
        done = separate_file(parts, tmp_path / "mix.wav", targets, 8000, seconds=0.5)
    assert done == (frames, 1.0)
    for target, share in zip(targets, (0.75, 0.25), strict=True):
        info = soundfile.info(target)
        assert (info.frames, info.samplerate, info.channels, info.subtype) == (frames, rate, 1, "PCM_24")
        if frames > 20000:
            made = read_channels(target)[0][0]
            assert abs(made - share * tone)[500:-500].max() < 2e-3


def test_a_file_that_would_clip_is_scaled_by_one_factor(tmp_path):
    wave = voices(1, 20000)[0].numpy()
    write_wave(tmp_path / "mix.wav", wave, 8000)
    targets = [tmp_path / f"{n}.wav" for n in range(2)]
    done = separate_file(lambda x: torch.stack([9 * x, 3 * x], 1), tmp_path / "mix.wav", targets, 8000, fit=None)
    made = [read_channels(path)[0][0] for path in targets]
    assert done.factor < 1 and abs(made[0]).max() == pytest.approx(0.999, abs=1e-3)
    np.testing.assert_allclose(made[0], 3 * made[1], atol=1e-3)


def test_a_silent_file_stays_silent(tmp_path):
    write_wave(tmp_path / "mix.wav", np.zeros(9000, np.float32), 8000)
    targets = [tmp_path / f"{n}.flac" for n in range(2)]
    assert separate_file(parts, tmp_path / "mix.wav", targets, 8000, seconds=0.2) == (9000, 1.0)
    assert all(read_channels(path)[0].shape == (1, 9000) and not read_channels(path)[0].any() for path in targets)


def test_files_that_cannot_be_separated_leave_nothing(tmp_path):
    targets = [tmp_path / "out" / f"{n}.wav" for n in range(2)]
    wave = voices(1, 9000)[0].numpy()
    wave[8000] = np.nan
    soundfile.write(tmp_path / "nan.wav", wave, 8000, subtype="FLOAT")
    with pytest.raises(UserError, match=r"nan\.wav: sample 8000 is NaN"):
        separate_file(parts, tmp_path / "nan.wav", targets, 8000, seconds=0.2)
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(UserError, match=r"text\.wav: is not audio"):
        separate_file(parts, tmp_path / "text.wav", targets, 8000)
    write_wave(tmp_path / "good.wav", voices(1, 9000)[0].numpy(), 8000)
    with pytest.raises(UserError, match="gives NaN"):
        separate_file(lambda x: parts(x) * math.nan, tmp_path / "good.wav", targets, 8000, seconds=0.2)
    with pytest.raises(ValueError, match=r"expected \(3, n\)"):
        separate_file(parts, tmp_path / "good.wav", [*targets, tmp_path / "out" / "2.wav"], 8000)
    assert not list((tmp_path / "out").glob("*")) and not list((tmp_path / "out").glob(".*"))


def test_ten_minutes_in_the_memory_of_one(tmp_path):
    """Of Python and NumPy objects, among them all blocks of the file; results of 10 minutes would take 38 MB."""

    def peak(minutes):
        with soundfile.SoundFile(tmp_path / "long.wav", "w", 8000, 1, "PCM_16") as file:
            for _ in range(minutes):
                file.write(np.tile(voice(0, 0, 0, 8000, 8000), 60))
        tracemalloc.start()
        done = separate_file(parts, tmp_path / "long.wav", [tmp_path / "a.wav", tmp_path / "b.wav"], 8000, fit=None)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert done.frames == minutes * 480000
        return most

    assert peak(10) < 1.2 * peak(1) < 20e6
