"""Golden files of state-spaces/mamba: how its classes are built, filled and called here."""

__all__ = ["GOLDENS"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.checkpoint import Mapping, same
from core.mixers.mamba import Mamba
from core.ops.decay import decay_linear_attention
from core.ops.selective_scan import selective_scan
from core.verify import Facts, Golden


class _Both(nn.Module):
    """In parallel ("0") and token by token ("y", with the release's states): a file holds one of the two."""

    def __init__(self, own: Mamba) -> None:
        super().__init__()
        self.own = own

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        state = self.own.initial_state(len(x), x.device, x.dtype)
        outputs, oldest = [], state[0][:, :1]
        for token in x.unbind(1):
            oldest = state[0][:, :1]
            y, state = self.own.step(token, state)
            outputs.append(y)
        # The release keeps one input more than its next step needs.
        window = torch.cat([oldest, state[0]], 1).transpose(1, 2)
        return {"0": self.own(x), "y": torch.stack(outputs, 1), "conv_state": window, "ssm_state": state[1]}


def _build(facts: Facts) -> nn.Module:
    rank = facts.get("dt_rank", "auto")
    mixer = Mamba(
        facts.config["d_model"],
        facts.get("d_state", 16),
        facts.get("d_conv", 4),
        facts.get("expand", 2),
        rank=None if rank == "auto" else rank,
        bias=facts.get("bias", False),
        conv_bias=facts.get("conv_bias", True),
    )
    return _Both(mixer)


NAMES = Mapping(
    same("own.enter.{p}", "in_proj.{p}"),
    same("own.conv.{p}", "conv1d.{p}"),
    same("own.select.{p}", "x_proj.{p}"),
    same("own.dt.{p}", "dt_proj.{p}"),
    same("own.log_rate", "A_log"),
    same("own.skip", "D"),
    same("own.out.{p}", "out_proj.{p}"),
)


def _scan(facts: Facts) -> Callable[..., dict[str, Tensor]]:
    """The release's order of axes (B, D, T) and what it does around the recurrence; `A` is the logarithm of -A."""
    softplus = facts.get("delta_softplus", False)

    def run(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        u, dt, b, c = (inputs[name].movedim(-1, 1) for name in ("u", "delta", "B", "C"))
        dt = dt + inputs["delta_bias"] if "delta_bias" in inputs else dt
        y, state = selective_scan(u, F.softplus(dt) if softplus else dt, -inputs["A"].exp(), b, c)
        y = y + inputs["D"] * u if "D" in inputs else y
        y = y * F.silu(inputs["z"].mT) if "z" in inputs else y
        return {"0": y.mT, "1": state, "out": y.mT, "last_state": state}

    return run


def _whole(run: Callable[..., Any], inputs: dict[str, Tensor]) -> Any:
    return run(inputs)


def _dual(facts: Facts) -> Callable[..., tuple[Tensor, Tensor]]:
    """Mamba-2; `A` is the inverse softplus of the decay, states are (B, H, P, N) there."""

    def run(inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        decay = -F.softplus(inputs["A"])
        y, state = decay_linear_attention(
            inputs["C"], inputs["B"], inputs["X"], decay, chunk=facts.get("block_len", 64)
        )
        return y, state.mT

    return run


_CLASSES = {
    "Mamba": Golden(_build, NAMES),
    "selective_scan_ref": Golden(_scan, call=_whole),
}
GOLDENS = {
    "mamba": {**_CLASSES, "ssd_minimal_discrete": Golden(_dual, call=_whole)},
    "mamba_block": _CLASSES,
}
