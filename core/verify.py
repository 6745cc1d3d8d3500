"""Our models against golden files: what the official code computed, forward and backward.

A golden is one safetensors file.  Its metadata (JSON strings) name the `system`, the official `class` and its
`config`, the order of the inputs in `call`, the `mode` (train or eval), the `seed` and the `weights` (official
names and shapes); its tensors are `input/*`, `output/*`, `grad_input/*`, `grad/*` (small parameters, whole),
`grad_dot/*` and `grad_norm/*` (large ones).  Weights are not stored: `seeded` makes each from seed, name and shape.

The loss behind the gradients is the sum over outputs of <output, probe>, the probe being `normal(seed,
"output/" + name)`.  Accepted: ||ours - theirs|| <= tol ||theirs|| for outputs (tol itself for an
all-zero one); for gradients 3e-6 G is added, G the largest gradient norm in the file, because some gradients are
zero in exact arithmetic and what a file holds of them is rounding noise; `grad_dot` is measured against `grad_norm`.

The official tensors become leaves, a `core.checkpoint.Mapping` turns them into our parameters, our module runs on
those through `torch.func.functional_call`, and gradients come back under the official names.
"""

__all__ = ["Facts", "Golden", "Result", "compare", "normal", "read", "seeded", "verify"]

import json
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core import checkpoint

# Relative to the largest gradient of the file: what single precision leaves of a gradient that is zero.
GRADIENT_NOISE = 3e-6


def normal(seed: int, name: str, shape) -> np.ndarray:
    """Standard normal float32 numbers that depend on seed, name and shape alone."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(f"{seed}/{name}".encode())))
    return rng.standard_normal(tuple(shape)).astype(np.float32)


def seeded(name: str, shape, seed: int = 0) -> np.ndarray:
    """The weight recipe: the value of one official tensor."""
    x = normal(seed, name, shape)
    if len(shape) >= 2:
        return x / np.float32(math.sqrt(max(1, math.prod(shape[1:]))))
    if name.endswith("running_var"):
        return 1 + np.float32(0.1) * np.abs(x)
    if name.endswith(("weight", "gamma", "scale")):
        return 1 + np.float32(0.1) * x
    return np.float32(0.1) * x


@dataclass(frozen=True)
class Facts:
    """What a golden says of itself; `get` answers for constructor arguments the file leaves at their default."""

    system: str
    cls: str
    config: dict[str, Any]
    call: list[str]
    mode: str
    seed: int
    weights: dict[str, tuple[int, ...]]
    tolerance: float
    inputs: dict[str, Tensor]
    notes: str = ""

    def get(self, name: str, default: Any) -> Any:
        """One constructor argument of the official class, or the release's default."""
        return self.config.get(name, default)


def _positional(run: Callable, inputs: dict[str, Tensor]) -> Any:
    return run(*inputs.values())


@dataclass(frozen=True)
class Golden:
    """How an official class is built and called here.

    Args:
        build: our module (or plain function, for goldens without weights) from the file's facts.
        mapping: official names to ours; a function of the facts where the configuration changes it.
        call: calls `run` (the module on the mapped weights) with the file's inputs, in the official conventions;
            returns a tensor, a sequence (outputs "0", "1", ...) or a dict.
    """

    build: Callable[[Facts], nn.Module | Callable]
    mapping: checkpoint.Mapping | Callable[[Facts], checkpoint.Mapping] = field(default_factory=checkpoint.Mapping)
    call: Callable[[Callable, dict[str, Tensor]], Any] = _positional


@dataclass(frozen=True)
class Run:
    """The module on the mapped weights; `call` may ask `module` what it was built for."""

    module: nn.Module
    weights: dict[str, Tensor]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return torch.func.functional_call(self.module, self.weights, args, kwargs)


@dataclass(frozen=True)
class Result:
    """One compared tensor: its error as a share of what is allowed (1 is the limit), and the error itself."""

    name: str
    share: float
    error: float

    @property
    def ok(self) -> bool:
        return self.share <= 1  # False for NaN


def read(path: str | Path) -> tuple[Facts, dict[str, Tensor]]:
    """The facts and the tensors of a golden file.

    Raises:
        ValueError: not a golden, with the reason.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            meta = {k: json.loads(v) for k, v in (file.metadata() or {}).items()}
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise ValueError(f"not a golden file ({str(error).splitlines()[0]})") from None
    if lacking := [key for key in ("system", "class", "config") if key not in meta]:
        raise ValueError(f"not a golden file (its metadata lack {', '.join(lacking)})")
    inputs = {k.removeprefix("input/"): v for k, v in tensors.items() if k.startswith("input/")}
    call = meta.get("call") or list(inputs)
    facts = Facts(
        system=meta["system"],
        cls=meta["class"],
        config=meta["config"],
        call=call,
        mode=meta.get("mode", "eval"),
        seed=meta.get("seed", 0),
        weights={name: tuple(shape) for name, shape in meta.get("weights", [])},
        tolerance=meta.get("tolerance", 1e-5),
        inputs={name: inputs[name] for name in call if name in inputs},
        notes=meta.get("notes", ""),
    )
    return facts, tensors


def _named(outputs: Any) -> dict[str, Tensor]:
    if isinstance(outputs, Tensor):
        return {"0": outputs}
    if isinstance(outputs, dict):
        return {str(k): v for k, v in outputs.items()}
    return {str(i): v for i, v in enumerate(outputs)}


def verify(path: str | Path, golden: Golden, dtype: torch.dtype = torch.float64) -> list[Result]:
    """Every tensor of one golden file against ours.

    Raises:
        core.errors.UserError: the weights in the file do not fit our module.
    """
    facts, tensors = read(path)
    module = golden.build(facts)
    leaves = {k: torch.from_numpy(np.asarray(seeded(k, s, facts.seed))).to(dtype) for k, s in facts.weights.items()}
    for name, leaf in leaves.items():
        leaf.requires_grad_(not name.endswith(("running_mean", "running_var")))
    if isinstance(module, nn.Module):
        module.to(dtype).train(facts.mode == "train")
        mapping = golden.mapping if isinstance(golden.mapping, checkpoint.Mapping) else golden.mapping(facts)
        weights = checkpoint.check(module, leaves, mapping, Path(path).name)
        # A clone, because batch norm writes its statistics into what it is given.
        weights = {k: v.clone() for k, v in weights.items()}

        run: Callable = Run(module, weights)
    else:
        run = module
    inputs = {}
    for name, value in facts.inputs.items():
        floating = value.is_floating_point()
        inputs[name] = value.to(dtype).requires_grad_(f"grad_input/{name}" in tensors) if floating else value
    return compare(facts, tensors, _named(golden.call(run, inputs)), inputs, leaves)


def compare(facts: Facts, tensors: dict, outputs: dict, inputs: dict, leaves: dict) -> list[Result]:
    """The rule of comparison over everything the file holds (see the module's docstring)."""
    results, loss = [], torch.zeros((), dtype=torch.float64)
    for key, theirs in tensors.items():
        if not key.startswith("output/"):
            continue
        ours = outputs.get(key.removeprefix("output/"))
        size = theirs.double().norm().item()
        results.append(_close(key, ours, theirs, facts.tolerance * (size or 1.0)))
        if ours is not None and ours.requires_grad and ours.numel() == theirs.numel():
            probe = torch.from_numpy(normal(facts.seed, key, theirs.shape))
            loss = loss + (ours * probe.to(ours).reshape(ours.shape)).sum()
    gradients = {k: v for k, v in tensors.items() if k.startswith("grad")}
    if gradients and loss.requires_grad:
        loss.backward()
    norms = [v.double().norm().item() for k, v in gradients.items() if not k.startswith("grad_dot/")]
    noise = GRADIENT_NOISE * max(norms, default=0.0)
    for key, theirs in gradients.items():
        kind, name = key.split("/", 1)
        source = inputs.get(name) if kind == "grad_input" else leaves.get(name)
        ours = None
        size = theirs.double().norm().item()
        if source is not None:
            ours = torch.zeros_like(source) if source.grad is None else source.grad
            if kind == "grad_norm":
                ours = ours.double().norm().reshape(1)
            elif kind == "grad_dot":
                probe = torch.from_numpy(normal(facts.seed, name, ours.shape)).double()
                ours = (ours.double() * probe).sum().reshape(1)
                # The probe has the weight's own direction: in front of a normalisation the exact value is zero.
                size = tensors[f"grad_norm/{name}"].item()
        results.append(_close(key, ours, theirs, facts.tolerance * size + noise))
    return results


def _close(name: str, ours: Tensor | None, theirs: Tensor, allowed: float) -> Result:
    """||ours - theirs|| against what is allowed; a single number may have any number of dimensions."""
    if ours is None:
        return Result(f"{name} (ours has none)", math.inf, math.inf)
    if ours.shape != theirs.shape and not ours.numel() == theirs.numel() == 1:
        return Result(f"{name} (shape {tuple(ours.shape)}, official {tuple(theirs.shape)})", math.inf, math.inf)
    theirs = theirs.double()
    error = (ours.detach().double().reshape(theirs.shape) - theirs).norm().item()
    share = error / allowed if allowed else (0.0 if error == 0 else math.inf)
    return Result(name, share, error / (theirs.norm().item() or 1.0))
