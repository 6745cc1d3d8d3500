"""Official state dicts into ours, through a mapping that is data.

A mapping is a list of rules, each from official names to one of ours::

    Mapping(
        same("layers.{i}.norm.{p}", "encoder.layers.{i}.norm1.{p}"),
        cat("layers.{i}.qkv.{p}", "encoder.layers.{i}.q.{p}", "encoder.layers.{i}.k.{p}", "encoder.layers.{i}.v.{p}"),
        cat("context_kv.weight", "encoder.layers.{*}.cross.{k|v}.weight"),
        derive("head.weight", "head.linear.weight", lambda w: w.flip(0)),
        ignore=["position.pe"],
    )

Patterns: `{name}` stands for one part of a name (no dot) and has the same value in the whole rule, `{name*}` for
one part or more, `{*}` for every value there is, in natural order (layer 2 before layer 10), and `{a|b}` for the
listed values in this order.  With several open places the leftmost changes slowest.

The functions in the rules are differentiable, so a gradient in our parameters has its counterpart in the official
names however much was fused or permuted on the way: `core.verify` compares gradients like that.
"""

__all__ = ["Mapping", "Rule", "cat", "check", "derive", "load", "read", "same"]

import pickle
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import UserError

_PLACE = re.compile(r"\{([^{}]*)\}")
_NESTS = ("params_ema", "params", "state_dict_ema", "state_dict", "model_state_dict", "model_state", "model")


@dataclass(frozen=True)
class Rule:
    """One of our tensors (a name, perhaps with places) from the official ones that make it."""

    target: str
    sources: tuple[str, ...]
    make: Callable[..., Tensor]


def same(target: str, source: str) -> Rule:
    """The same tensor under another name."""
    return Rule(target, (source,), lambda tensor: tensor)


def cat(target: str, *sources: str, dim: int = 0) -> Rule:
    """Several official tensors one after the other along `dim` (fused projections)."""
    return Rule(target, sources, lambda *tensors: torch.cat(tensors, dim))


def derive(target: str, source: str | Sequence[str], make: Callable[..., Tensor]) -> Rule:
    """A tensor computed from one or several official ones by a differentiable function."""
    return Rule(target, (source,) if isinstance(source, str) else tuple(source), make)


def _natural(text: str) -> list:
    return [int(piece) if piece.isdigit() else piece for piece in re.split(r"(\d+)", text)]


def _expand(pattern: str) -> list[str]:
    """`{a|b}` written out; the other places stay."""
    choices = [m.group(1).split("|") if "|" in m.group(1) else [m.group(0)] for m in _PLACE.finditer(pattern)]
    frame = _PLACE.split(pattern)[::2]
    return ["".join(x for pair in zip(frame, (*pick, ""), strict=True) for x in pair) for pick in product(*choices)]


def _regex(pattern: str) -> re.Pattern:
    out, seen = "", set()
    for n, piece in enumerate(_PLACE.split(pattern)):
        if n % 2 == 0:
            out += re.escape(piece)
        elif piece == "*":
            out += r"[^.]+"
        elif (name := piece.rstrip("*")) in seen:
            out += f"(?P={name})"
        else:
            seen.add(name)
            out += f"(?P<{name}>{'.+' if piece.endswith('*') else '[^.]+'})"
    return re.compile(out)


def _fill(pattern: str, values: dict[str, str]) -> str:
    return _PLACE.sub(lambda m: values.get(m.group(1).rstrip("*") or "*", m.group(0)), pattern)


class Mapping:
    """Rules from one release's names to ours; see the module's docstring for the patterns.

    Args:
        rules: where each of our tensors comes from; an official tensor may serve several.
        ignore: patterns of official tensors that are rebuilt instead of loaded (tables, masks, counters).
    """

    def __init__(self, *rules: Rule, ignore: Iterable[str] = ()):
        self.rules, self.ignore = rules, tuple(ignore)

    def __call__(self, official: dict[str, Tensor]) -> dict[str, Tensor]:
        """Our tensors; official names no rule takes are left for `unexpected` to tell."""
        ours: dict[str, Tensor] = {}
        for rule in self.rules:
            for values in self._bindings(rule, official):
                names = [n for source in rule.sources for n in self._names(_fill(source, values), official)]
                if names:
                    ours[_fill(rule.target, values)] = rule.make(*(official[n] for n in names))
        return ours

    def unexpected(self, names: Iterable[str]) -> list[str]:
        """Official names that neither a rule nor `ignore` knows."""
        patterns = [source for rule in self.rules for source in rule.sources] + list(self.ignore)
        known = [_regex(p) for pattern in patterns for p in _expand(pattern)]
        return [name for name in names if not any(k.fullmatch(name) for k in known)]

    def missing(self, official: Iterable[str], ours: Iterable[str], wanted: Iterable[str]) -> list[str]:
        """Names of ours nothing filled, with the official names they would come from."""
        lines = []
        for name in sorted(set(wanted) - set(ours), key=_natural):
            sources = []
            for rule in self.rules:
                if match := _regex(rule.target).fullmatch(name):
                    sources = [_fill(source, match.groupdict()) for source in rule.sources]
                    break
            lines.append(f"{name} (from {', '.join(sources)})" if sources else f"{name} (no rule makes it)")
        return lines

    @staticmethod
    def _names(pattern: str, official: Iterable[str]) -> list[str]:
        found = []
        for single in _expand(pattern):
            regex = _regex(single)
            found.append(sorted((name for name in official if regex.fullmatch(name)), key=_natural))
        # `{*}` before `{a|b}`: the leftmost place changes slowest, so the lists are read in turns.
        leftmost = _PLACE.search(pattern)
        if len(found) > 1 and leftmost and leftmost.group(1) == "*":
            return [name for turn in zip(*found, strict=True) for name in turn]
        return [name for names in found for name in names]

    @staticmethod
    def _bindings(rule: Rule, official: Iterable[str]) -> list[dict[str, str]]:
        regex = _regex(_expand(rule.sources[0])[0])
        found = (m.groupdict() for name in official if (m := regex.fullmatch(name)))
        return [dict(items) for items in dict.fromkeys(tuple(b.items()) for b in found)]


def read(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a release file: safetensors, or a torch file that holds tensors and plain values only.

    Looks inside the usual nests (`params_ema` before `params`, `state_dict`, `model`) and drops a `module.` prefix
    that all names share.

    Raises:
        UserError: no such file, not a checkpoint, no tensors in it, or a pickle that would execute code.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; check the path.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wanted is None:
            raise UserError(
                f"{path}: is no file of tensors; give one of torch.save or safetensors that holds a state dict."
            ) from None
        raise UserError(
            f"{path}: loading it would execute code (the object {wanted.group(1)} is pickled in it), which is refused; "
            "open it once where you trust it and save only its tensors: torch.save(model.state_dict(), 'weights.pth')."
        ) from None
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not a readable checkpoint ({reason[:150]}); is the download complete?") from None
    while isinstance(content, dict) and not any(isinstance(v, Tensor) for v in content.values()):
        inner = next((content[nest] for nest in _NESTS if isinstance(content.get(nest), dict)), None)
        if inner is None:
            break
        content = inner
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise UserError(f"{path}: holds no named tensors; give a file that holds a state dict.")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): v for name, v in tensors.items()}
    return tensors


def wanted(module: nn.Module) -> dict[str, torch.Size]:
    """Names and shapes a release has to fill; step counters of batch norms may be absent from it."""
    return {k: v.shape for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}


def check(
    module: nn.Module, official: dict[str, Tensor], mapping: Mapping, name: str = "checkpoint"
) -> dict[str, Tensor]:
    """Our tensors for `module`, or one error that lists every missing, unexpected and wrongly shaped name.

    Raises:
        UserError: with all three lists.
    """
    ours = mapping(official)
    want = wanted(module)
    spare = [k for k in ours if k not in want and not k.endswith("num_batches_tracked")]
    problems = {
        "missing": mapping.missing(official, ours, want),
        "unexpected": mapping.unexpected(official) + [f"{k} (the model has no such tensor)" for k in spare],
        "wrong shape": [
            f"{k}: {'x'.join(map(str, ours[k].shape))} in the file, {'x'.join(map(str, size))} in the model"
            for k, size in want.items()
            if k in ours and ours[k].shape != size
        ],
    }
    said = [f"{kind}: {_some(names)}" for kind, names in problems.items() if names]
    if said:
        raise UserError(f"{name} does not fit the model; {'; '.join(said)}; check the constructor arguments.")
    return ours


def load(module: nn.Module, official: dict[str, Tensor], mapping: Mapping, name: str = "checkpoint") -> None:
    """Fills `module` in place from official tensors; strict (see `check`)."""
    ours = check(module, official, mapping, name)
    with torch.no_grad():
        state = module.state_dict()
        for key, tensor in ours.items():
            state[key].copy_(tensor)


def _some(names: list[str], count: int = 8) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
