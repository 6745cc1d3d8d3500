"""Every model on an accelerator: `python -m benchmarks.device [--device cuda] [--only NAME]`, a table in Markdown.

Of each model, at a published size: how far its result on the device is from that on the CPU (both float32, matrix
products in full precision), how far bfloat16 and the compiled network are from float32 on the device, and time and
memory of inference and of a training step in float32 and bfloat16.  Errors are relative, ||a - b|| / ||b||.

With `--device cpu` it compares the CPU with itself: a test of the script.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from core.layout import Ragged
from core.ops.csr import Csr

Inputs = tuple[Any, ...]


@dataclass(frozen=True)
class Subject:
    """A model, what it is called with, and a number made of what it returns.

    Args:
        name: in the table.
        make: builds it.
        inputs: makes its inputs on the CPU.
        read: the tensor that is compared and differentiated.
        call: how the model takes its inputs.
        compiles: whether `torch.compile` is tried: not where shapes follow from the data.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]
    read: Callable[[Any], Tensor] = lambda output: output
    call: Callable[..., Any] = lambda model, *inputs: model(*inputs)
    compiles: bool = True


def subjects() -> Iterator[Subject]:
    """What is looked at."""
    from apps.audio.models import ConvTasNet, SepFormer, mossformer2, mossformer_large
    from apps.graph.models import Polynormer, Relation, SGFormer, TunedGNN
    from apps.pointcloud.models import (
        CenterPointPillar,
        CenterPointVoxel,
        FlatFormerDetector,
        PointPillars,
        ScatterFormerDetector,
        Second,
    )
    from apps.timeseries.models import PatchTSMixer, TimeXer
    from apps.vision.backbones.davit import davit_tiny
    from apps.vision.backbones.mit import mit_b0, mit_b2
    from apps.vision.backbones.nat import dinat_tiny
    from apps.vision.backbones.rmt import rmt_tiny
    from apps.vision.backbones.swin import swin_tiny
    from apps.vision.segmentation.models import (
        EncoderDecoder,
        SegFormerHead,
        UPerHead,
        kmax_r50_coco,
        p2at_small,
    )
    from apps.vision.superres.models import dlgsanet_light, drct, hat_small, rgt_small, swinir

    yield Subject(
        "TimeXer, DE script",
        lambda: TimeXer(168, 24, num_past_feat_dynamic_real=2, depth=1),
        lambda: (torch.randn(64, 168, 1), torch.randn(64, 168, 2)),
        call=lambda model, past, known: model(past, past_feat_dynamic_real=known),
    )
    yield Subject("PatchTSMixer", lambda: PatchTSMixer(512, 96, target_dim=7), lambda: (torch.randn(64, 512, 7),))
    for make in (hat_small, drct, rgt_small, swinir, dlgsanet_light):
        yield Subject(f"{make.__name__} x4, 64 x 64", lambda make=make: make(4), lambda: (torch.rand(4, 3, 64, 64),))
    for make in (mossformer2, mossformer_large, SepFormer, ConvTasNet):
        yield Subject(f"{make.__name__}, 2 s", make, lambda: (0.1 * torch.randn(2, 16000),))
    for make in (swin_tiny, davit_tiny, dinat_tiny, rmt_tiny):
        yield Subject(
            f"{make.__name__}, 8 x 224 x 224", make, lambda: (torch.rand(8, 3, 224, 224),), lambda maps: maps[-1]
        )
    systems: dict[str, Callable[[], nn.Module]] = {
        "SegFormer-B0, 512 x 1024": lambda: EncoderDecoder(19, mit_b0(), SegFormerHead),
        "SegFormer-B2, 512 x 1024": lambda: EncoderDecoder(19, mit_b2(), partial(SegFormerHead, dim=768)),
        "UPerNet on Swin-T, 512 x 1024": lambda: EncoderDecoder(19, swin_tiny(), UPerHead),
        "P2AT-S, 512 x 1024": lambda: p2at_small(19),
    }
    for name, build in systems.items():
        yield Subject(name, build, lambda: (torch.rand(2, 3, 512, 1024),), lambda made: made.main)
    yield Subject(
        "kMaX-DeepLab R50, 641 x 641", kmax_r50_coco, lambda: (torch.rand(2, 3, 641, 641),), lambda f: f.masks.masks
    )
    for network in (
        partial(TunedGNN, 100, 40, 256),
        partial(SGFormer, 100, 40, 256),
        partial(Polynormer, 100, 40, 256),
    ):
        name = f"{network.func.__name__}, 100 k nodes, 2 M edges"
        yield Subject(name, network, _graph, call=lambda model, x, csr: model(x, Relation(csr)), compiles=False)
    limits = (-76.8, -76.8, -2.0, 76.8, 76.8, 4.0)
    kitti = (0.0, -39.68, -3.0, 69.12, 39.68, 1.0)
    detectors: dict[type, tuple[float, ...]] = {
        CenterPointPillar: limits,
        CenterPointVoxel: limits,
        ScatterFormerDetector: limits,
        FlatFormerDetector: limits,
        PointPillars: kitti,
        Second: (0.0, -40.0, -3.0, 70.4, 40.0, 1.0),
    }
    for cls, point_range in detectors.items():
        yield Subject(
            f"{cls.__name__}, a drawn turn",
            lambda cls=cls, point_range=point_range: cls(3, point_range, features=1),
            _turn,
            lambda maps: torch.cat([m.flatten() for one in _listed(maps) for m in one.values()]),
            compiles=False,
        )


def _listed(maps: Any) -> list[dict[str, Tensor]]:
    return maps if isinstance(maps, list) else [maps]


def _turn() -> Inputs:
    from apps.pointcloud.data.scenes import Scenes

    return (Ragged.of([Scenes(1, camera_view=False).draw(0).points]),)


def _photos() -> Inputs:
    return (torch.rand(8, 3, 224, 224),)


def _graph() -> Inputs:
    nodes = 100_000
    return torch.randn(nodes, 100), Csr.of(torch.randint(nodes, (2, 2_000_000)), nodes)[0]


def moved(value: Any, device: torch.device) -> Any:
    """Tensors and ragged sets on a device."""
    if isinstance(value, Ragged):
        return Ragged(*(None if part is None else part.to(device) for part in value))
    return value.to(device)


def apart(a: Tensor, b: Tensor) -> float:
    """Relative distance."""
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    return float((a - b).norm() / b.norm())


def measure(run: Callable[[], object], device: torch.device, repeats: int) -> tuple[float, float]:
    """Median milliseconds of a call after three to warm up, and the most memory it took in MiB (0 on a CPU)."""
    for _ in range(3 if device.type == "cuda" else 1):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    memory = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else 0.0
    return 1000 * sorted(times)[len(times) // 2], memory


def row(subject: Subject, device: torch.device, repeats: int, compile_too: bool) -> list[str]:
    """One line of the table."""
    torch.manual_seed(0)
    inputs = subject.inputs()
    network = subject.make().eval()
    with torch.no_grad():
        expected = subject.read(subject.call(network, *inputs))
    network.to(device)
    there = tuple(moved(value, device) for value in inputs)

    def forward(module: nn.Module, half: bool = False) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16) if half else nullcontext():
            return subject.read(subject.call(module, *there))

    cells = [subject.name, f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} M"]
    with torch.no_grad():
        single = forward(network)
        cells.append(f"{apart(single, expected):.0e}")
        cells.append(f"{apart(forward(network, True), single):.0e}")
        if compile_too and subject.compiles:
            cells.append(f"{apart(forward(torch.compile(network)), single):.0e}")
        else:
            cells.append("")
        for half in (False, True):
            cells.append("{:.1f} ms, {:.0f} MiB".format(*measure(lambda h=half: forward(network, h), device, repeats)))
    network.train()

    def step(half: bool) -> None:
        network.zero_grad(set_to_none=True)
        forward(network, half).float().square().mean().backward()

    for half in (False, True):
        cells.append("{:.1f} ms, {:.0f} MiB".format(*measure(lambda h=half: step(h), device, repeats)))
    return cells


HEAD = ("model", "parameters", "device", "bf16", "compiled", "inference", "bf16", "training step", "bf16")


def main(arguments: list[str] | None = None) -> int:
    """Prints the table; 1 where a model failed or differs."""
    parser = argparse.ArgumentParser("python -m benchmarks.device", description="Every model on an accelerator.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", default="", help="models whose name contains this")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}; medians of {options.repeats} calls.\n")
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}", flush=True)
    failed = 0
    for subject in subjects():
        if options.only not in subject.name:
            continue
        try:
            cells = row(subject, device, options.repeats, not options.no_compile)
            # Single precision of deep networks; more is an error.
            failed += float(cells[2]) > 1e-3
        except Exception as error:  # the table goes on with the next model
            cells = [subject.name, f"failed: {type(error).__name__}: {str(error).splitlines()[0][:80]}"]
            failed += 1
        print(f"| {' | '.join(cells)} |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
