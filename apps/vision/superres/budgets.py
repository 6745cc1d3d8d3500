"""`python -m apps.vision.superres.budgets`: which network is best after so many minutes of one core, from scratch.

    python -m apps.vision.superres.budgets --minutes 1,10 --networks ResidualSR,EDSR-small

Every network is trained on T91 (x4, patches 24 -> 96, batches of 16, absolute error, Adam, one cycle, averaged
weights) for as many steps as fit into the budget by the time of its own first steps, and tested on Set5 as published:
bicubic and SRCNN's published number stand beside.  Time is CPU time of one thread, so that other work on the machine
counts for nobody.
"""

__all__ = ["NETWORKS", "Trial", "trial"]

import argparse
import copy
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from apps.vision.superres.data.datamodule import SuperResolutionData
from apps.vision.superres.data.sources import T91, Set5
from apps.vision.superres.metrics import Score, average, score, to_uint8
from apps.vision.superres.models import HAT, ResidualSR, dlgsanet_tiny, edsr_small
from apps.vision.superres.published import PUBLISHED
from apps.vision.superres.resize import resize
from core.errors import UserError, nearest
from core.training.report import Row, Table
from core.training.results import hardware, render
from core.training.schedules import OneCycle

SCALE = 4
BATCH = 16
WARM_STEPS = 3


@dataclass(frozen=True)
class Entrant:
    """A network and the rate it learns with: 4e-3 is better than 2e-3 for a minute of ResidualSR, worse for five."""

    make: Callable[[int], nn.Module]
    rate: float


def hat_tiny(scale: int) -> HAT:
    """HAT with 48 channels and 2 groups of 2 blocks, window 8; no published size."""
    return HAT(scale, dim=48, depths=(2, 2), heads=(4, 4), window=8, compress=3, squeeze=12)


NETWORKS = {
    "ResidualSR": Entrant(ResidualSR, 2e-3),
    "ResidualSR, 40 x 8": Entrant(lambda scale: ResidualSR(scale, dim=40, depth=8), 2e-3),
    "EDSR-small": Entrant(edsr_small, 1e-3),
    "DLGSANet-tiny": Entrant(dlgsanet_tiny, 1e-3),
    "HAT, 48 x 2 x 2": Entrant(hat_tiny, 1e-3),
}


@dataclass(frozen=True)
class Trial:
    """What a network reached.

    Args:
        score: on Set5.
        steps, seconds, parameters: what it took.
    """

    score: Score
    steps: int
    seconds: float
    parameters: int


def trial(entrant: Entrant, data: SuperResolutionData, seconds: float, seed: int = 0) -> Trial:
    """Trains for `seconds` of CPU time, schedule included, and tests the averaged weights.

    Args:
        entrant: what to train.
        data: with training patches and test images.
        seconds: CPU time; 0 means the warm-up steps alone.
        seed: of weights and patches.
    """
    torch.manual_seed(seed)
    net = entrant.make(data.scale)
    mean = copy.deepcopy(net)
    crops = data.crops(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=entrant.rate, betas=(0.9, 0.99), fused=True)

    def learn(number: int, decay: float) -> None:
        batch = crops.__getitems__(range(number * data.batch_size, (number + 1) * data.batch_size))
        loss = (net(batch["lr"]) - batch["hr"]).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(mean.parameters()), list(net.parameters()), 1 - decay)

    # How long a step takes is measured on steps that are taken back.
    before = copy.deepcopy((net.state_dict(), optimizer.state_dict()))
    started = time.process_time()
    for number in range(WARM_STEPS):
        if number == 1:
            started = time.process_time()
        learn(number, 0.0)
    pace = (time.process_time() - started) / (WARM_STEPS - 1)
    net.load_state_dict(before[0])
    optimizer.load_state_dict(before[1])
    mean.load_state_dict(before[0])
    steps = max(WARM_STEPS, int(seconds / pace))

    schedule = OneCycle(optimizer, steps, 1)
    started = time.process_time()
    for number in range(steps):
        learn(number, min(0.998, (number + 1) / (number + 10), 1 - 20 / steps))
        schedule.step()
    taken = time.process_time() - started
    return Trial(test(mean, data), steps, taken, sum(p.numel() for p in net.parameters()))


@torch.no_grad()
def test(net: nn.Module, data: SuperResolutionData) -> Score:
    """PSNR and SSIM on luma, averaged over the test images."""
    net.eval()
    part, scores = data.part("test"), []
    for index in range(len(part)):
        whole = part[index]
        scores.append(score(to_uint8(net(whole["lr"])[0]), part.pair(index).hr, data.scale))
    return average(scores)


def bicubic(data: SuperResolutionData) -> Score:
    """The same of bicubic."""
    pairs = [data.part("test").pair(index) for index in range(len(data.part("test")))]
    return average(score(resize(pair.lr, scale=data.scale), np.asarray(pair.hr), data.scale) for pair in pairs)


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 done, 2 something to mend."""
    parser = argparse.ArgumentParser(
        "python -m apps.vision.superres.budgets", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--minutes", default="1", help="budgets, with commas between")
    parser.add_argument("--networks", default=";".join(NETWORKS), help=f"with ; between, of {'; '.join(NETWORKS)}")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        minutes = [float(text) for text in options.minutes.split(",")]
        names = [name.strip() for name in options.networks.split(";")]
        for name in names:
            if name not in NETWORKS:
                raise UserError(f"--networks {name}: there is no such network.{nearest(name, NETWORKS)}")
        data = SuperResolutionData(train=T91(), validation=Set5(), test=Set5(), scale=SCALE, patch=24, batch_size=BATCH)
        base = bicubic(data)
        for budget in minutes:
            rows = []
            for name in names:
                made = trial(NETWORKS[name], data, 60 * budget, options.seed)
                note = f"{made.parameters:,} parameters, {made.steps:,} steps, {made.seconds:.0f} s"
                print(f"{name}: {made.score.psnr:.3f} dB, {note}", flush=True)
                rows.append(Row(name, {"PSNR": made.score.psnr, "SSIM": made.score.ssim}, note, ours=True))
            rows.append(Row("bicubic", {"PSNR": base.psnr, "SSIM": base.ssim}))
            rows.append(
                Row("SRCNN (paper)", PUBLISHED["Set5"][SCALE]["SRCNN (paper)"], "published, trained on ImageNet")
            )
            title = f"Set5, x{SCALE}, after {budget:g} minutes of one core on T91"
            table = Table(title, ["PSNR", "SSIM"], rows, f"seed {options.seed}; {hardware()}.", {"PSNR": 2})
            print("\n" + render(table), flush=True)
    except (UserError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
