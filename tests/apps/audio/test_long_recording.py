"""Ten minutes through a real network, in a process of its own."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

SEPARATE = """
import resource, sys
import torch
from apps.audio.models import MossFormer2
from apps.audio.separate import separate_file

torch.manual_seed(0)
network = MossFormer2(32, 2, channels=64, kernel=64, stride=32, hidden=64, key_dim=16, group=64, inner=16, order=5)
network.eval()
made = separate_file(network, sys.argv[1], sys.argv[2:4], 8000, seconds=8.0)
print(made.frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_ten_minutes_take_no_more_memory_than_one(tmp_path) -> None:
    """16 bit and 8 kHz: ten minutes are 19 MB a float32 signal, 58 MB with both speakers."""
    peaks = {}
    for minutes in (1, 10):
        noise = np.random.default_rng(0).standard_normal(minutes * 60 * 8000).astype(np.float32)
        path = tmp_path / f"{minutes}.wav"
        soundfile.write(path, 0.1 * noise, 8000)
        targets = [str(tmp_path / f"{minutes}_{speaker}.wav") for speaker in (1, 2)]
        words = [sys.executable, "-c", SEPARATE, str(path), *targets]
        frames, peak = map(int, subprocess.run(words, capture_output=True, check=True, text=True).stdout.split())
        assert frames == len(noise) == soundfile.info(targets[0]).frames == soundfile.info(targets[1]).frames
        peaks[minutes] = peak / 1024
    print(peaks)
    assert peaks[10] < peaks[1] + 20
