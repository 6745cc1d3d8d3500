"""What a network costs: parameters, multiplications, images a second."""

__all__ = ["Cost", "cost"]

import time
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

REPEATS = 5


class Cost(NamedTuple):
    """Of one image.

    Attributes:
        parameters: all weights, those that only training uses too.
        macs: multiplications with addition in matrix products, convolutions and attention.
        speed: images a second, one at a time.
    """

    parameters: int
    macs: int
    speed: float


@torch.no_grad()
def cost(network: nn.Module, size: tuple[int, int]) -> Cost:
    """Measures a network that takes (1, 3, H, W), on the device where it is; it is left evaluating."""
    network.eval()
    device = next(network.parameters()).device
    image = torch.rand(1, 3, *size, device=device)
    # The counter hooks itself on what could have gradients, without which parameters given to modules confuse it.
    state = {name: value.detach() for name, value in [*network.named_parameters(), *network.named_buffers()]}
    with FlopCounterMode(display=False) as counter:
        torch.func.functional_call(network, state, (image,))
    times = []
    for _ in range(REPEATS):
        _wait(device)
        started = time.perf_counter()
        network(image)
        _wait(device)
        times.append(time.perf_counter() - started)
    parameters = sum(p.numel() for p in network.parameters())
    return Cost(parameters, counter.get_total_flops() // 2, 1 / sorted(times)[REPEATS // 2])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
