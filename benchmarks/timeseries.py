"""Forecasting beside its peers: `python -m benchmarks timeseries`, one thread.

    TimeXer        a step of training (forward, backward, optimiser) and a forecast, against a transcription of the
                   release's operations with the release's Adam; sizes and dropout of the release's scripts
    PatchTSMixer   the same against the class of transformers, both with fused AdamW, where transformers is installed
    batches        an epoch of windows against slices of arrays under the default loader

Both sides of a network have the same weights, and their forecasts are compared before anything is timed.
"""

__all__ = ["GROUPS"]

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.timeseries.data.calendar import marks
from apps.timeseries.data.scaler import Scaler
from apps.timeseries.data.series import Panel
from apps.timeseries.data.splits import everything
from apps.timeseries.data.windows import WindowDataset, as_is
from apps.timeseries.models import PatchTSMixer, TimeXer
from apps.timeseries.models.goldens_timexer import timexer_mapping
from apps.timeseries.models.patchtsmixer_release import forecaster_mapping, settings
from benchmarks.harness import Ratio, compare
from benchmarks.peers.slices import SlicedWindows, batches
from benchmarks.peers.timexer import TimeXerPeer
from core.checkpoint import load
from core.training.loader import EpochShuffle, ResumableLoader
from core.verify import Facts

Row = tuple[str, Ratio, float | None]
Forecast = Callable[[], Tensor]

# Name, width, MLP, layers, batch, demanded in training and inference. The first two are the release's scripts.
TIMEXER = (
    ("NP script: d 512, MLP 512, 3 layers, batch 4", 512, 512, 3, 4, 1.6, 1.8),
    ("DE script: d 512, MLP 2048, 1 layer, batch 4", 512, 2048, 1, 4, 2.4, 2.4),
    ("d 512, MLP 512, 3 layers, batch 32", 512, 512, 3, 32, None, None),
    ("d 64, MLP 128, 2 layers, batch 128", 64, 128, 2, 128, None, None),
)

# Name, look-back, horizon, channels, patch, width, layers, batch.
PATCHTSMIXER = (
    ("512 -> 96, 7 channels, patch 8, d 48, 3 layers, batch 32", 512, 96, 7, 8, 48, 3, 32),
    ("512 -> 96, 7 channels, patch 8, d 16, 8 layers, batch 8", 512, 96, 7, 8, 16, 8, 8),
    ("168 -> 24, 3 channels, patch 24, d 64, 3 layers, batch 128", 168, 24, 3, 24, 64, 3, 128),
)


def step(forecast: Forecast, target: Tensor, optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """One step of training as a call."""

    def run() -> None:
        optimizer.zero_grad()
        F.mse_loss(forecast(), target).backward()
        optimizer.step()

    return run


def beside(
    ours: tuple[nn.Module, Forecast, torch.optim.Optimizer],
    peer: tuple[nn.Module, Forecast, torch.optim.Optimizer],
    target: Tensor,
    repeats: int,
) -> tuple[Ratio, Ratio]:
    """Ratios in training and inference of two networks with equal weights."""
    for net, _, _ in (ours, peer):
        net.eval()
    with torch.no_grad():
        torch.testing.assert_close(ours[1](), peer[1](), rtol=1e-5, atol=1e-5)
        inference = compare(ours[1], peer[1], repeats)
    for net, _, _ in (ours, peer):
        net.train()
    return compare(*(step(forecast, target, optimizer) for _, forecast, optimizer in (ours, peer)), repeats), inference


def timexer(repeats: int) -> Iterator[Row]:
    for name, dim, hidden, depth, batch, trained, inferred in TIMEXER:
        sizes = {"dim": dim, "heads": 8, "depth": depth, "hidden": hidden, "patch_length": 24, "dropout": 0.1}
        peer = TimeXerPeer(168, 24, **sizes)
        ours = TimeXer(168, 24, num_past_feat_dynamic_real=2, num_time_feat=4, **sizes)
        facts = Facts("timexer", "Model", {"d_model": dim}, [], "eval", 0, {}, 0.0, {})
        load(ours, peer.state_dict(), timexer_mapping(facts))
        x, calendar, target = (
            3 * torch.randn(batch, 168, 3) + 1,
            torch.rand(batch, 168, 4) - 0.5,
            torch.randn(batch, 24, 1),
        )
        covariates, own = x[..., :2].contiguous(), x[..., 2:].contiguous()

        def forecast(ours=ours, own=own, covariates=covariates, calendar=calendar) -> Tensor:
            return ours(own, past_feat_dynamic_real=covariates, time_feat=calendar)

        def released(peer=peer, x=x, calendar=calendar) -> Tensor:
            return peer(x, calendar)

        training, inference = beside(
            (ours, forecast, torch.optim.Adam(ours.parameters(), 1e-4, fused=True)),
            (peer, released, torch.optim.Adam(peer.parameters(), 1e-4)),
            target,
            repeats,
        )
        yield f"TimeXer, training, {name}", training, trained
        yield f"TimeXer, inference, {name}", inference, inferred


def patchtsmixer(repeats: int) -> Iterator[Row]:
    if find_spec("transformers") is None:
        print("PatchTSMixer is left out: its peer transformers is not installed.\n")
        return
    from transformers import PatchTSMixerConfig, PatchTSMixerForPrediction

    for name, length, horizon, channels, patch, dim, depth, batch in PATCHTSMIXER:
        config = PatchTSMixerConfig(
            context_length=length,
            prediction_length=horizon,
            num_input_channels=channels,
            patch_length=patch,
            patch_stride=patch,
            d_model=dim,
            num_layers=depth,
        )
        peer = PatchTSMixerForPrediction(config)
        described = config.to_dict()
        ours = PatchTSMixer(
            length, horizon, target_dim=channels, head_dropout=described["head_dropout"], **settings(described)
        )
        load(ours, peer.state_dict(), forecaster_mapping())
        x, target = 3 * torch.randn(batch, length, channels) + 1, torch.randn(batch, horizon, channels)

        def forecast(ours=ours, x=x) -> Tensor:
            return ours(x)

        def released(peer=peer, x=x) -> Tensor:
            return peer(past_values=x, return_loss=False).prediction_outputs

        sides = [
            (net, run, torch.optim.AdamW(net.parameters(), 1e-4, fused=True))
            for net, run in ((ours, forecast), (peer, released))
        ]
        training, inference = beside(*sides, target, repeats)
        yield f"PatchTSMixer, training, {name}", training, 1.0
        yield f"PatchTSMixer, inference, {name}", inference, 1.0


def sampling(repeats: int) -> Iterator[Row]:
    rows, lengths = 5000, {"context_length": 168, "prediction_length": 24}
    values, calendar = np.random.default_rng(0).standard_normal((2, rows, 4))
    start = np.array(["2020-01-01"], dtype="datetime64[ns]")
    series = torch.from_numpy(values[:, :3]).float()
    panel = Panel(series, torch.tensor([0, rows]), ("a",), start, "h", ("y",), (), ("f", "g"))
    ours = WindowDataset(panel, everything(panel), Scaler.fit(panel), time_features=marks, **lengths)
    peer = SlicedWindows(values[:, :3], calendar, **lengths)
    for batch_size, direct, loaded in ((4, 4.0, 3.0), (32, 4.0, 3.0)):
        order = EpochShuffle(len(ours))
        loader = ResumableLoader(ours, batch_size=batch_size, sampler=order, collate_fn=as_is)
        numbers = list(loader.batch_sampler)

        def gather(numbers=numbers) -> None:
            for chosen in numbers:
                ours.__getitems__(chosen)

        def load_all(loader=loader) -> None:
            for _ in loader:
                pass

        def slices(batch_size=batch_size) -> None:
            for _ in batches(peer, batch_size):
                pass

        yield (
            f"batches of {batch_size}, windows gathered: slices and default loader",
            compare(gather, slices, repeats),
            direct,
        )
        yield f"batches of {batch_size}, through our loader: the same", compare(load_all, slices, repeats), loaded


GROUPS = {"timexer": timexer, "patchtsmixer": patchtsmixer, "batches": sampling}
