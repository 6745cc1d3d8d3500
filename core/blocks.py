"""Residual blocks and stacks: x + branch(x), over tokens by a mixer, then over channels (MetaFormer, Yu et al. 2022).

Where the norm stands is a class: `PreNorm` x + s f(n(x)), `PostNorm` n(x + s f(x)), `SandwichNorm` x + s n2(f(n1(x))).
s is a learned scale a channel (layer scale, Touvron et al. 2021) and drop path (stochastic depth, Huang et al. 2016)
leaves out the whole branch of a sample.
"""

__all__ = ["Block", "DropPath", "PostNorm", "PreNorm", "Residual", "SandwichNorm", "Stack", "blocks"]

from collections.abc import Callable, Sequence
from inspect import signature

import torch
from torch import Tensor, nn

from core.layout import Ragged, Tokens, per_token

State = tuple[Tensor, ...]


class DropPath(nn.Module):
    """Sets the branch of whole samples to 0 in training and scales the others to keep the mean.

    Args:
        share: probability that a sample's branch is left out.
    """

    def __init__(self, share: float = 0.0) -> None:
        super().__init__()
        if not 0 <= share < 1:
            raise ValueError(f"DropPath: share {share}; give one in [0, 1)")
        self.share = share

    def forward(self, x: Tokens) -> Tokens:
        if not self.share or not self.training:
            return x
        if isinstance(x, Ragged):
            kept = self._kept(x.batch, x.tokens)
            return x.with_tokens(x.tokens * kept[x.segment_ids(), None])
        return x * self._kept(len(x), x).view(-1, *(1,) * (x.ndim - 1))

    def _kept(self, batch: int, like: Tensor) -> Tensor:
        return torch.empty(batch, dtype=like.dtype, device=like.device).bernoulli_(1 - self.share) / (1 - self.share)


class Residual(nn.Module):
    """A branch with its norm, scale and drop path; the place of the norm is the subclass.

    Args:
        dim: width of the tokens.
        inner: the branch: a mixer or a channel mixer.
        norm: makes a norm from a width.
        layer_scale: first value of the learned scale; None = no scale.
        drop_path: share of samples whose branch is left out in training.
    """

    def __init__(
        self,
        dim: int,
        inner: nn.Module,
        *,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.inner = inner
        self.norm = norm(dim)
        self.scale = None if layer_scale is None else nn.Parameter(torch.full((dim,), layer_scale))
        self.drop_path = DropPath(drop_path)

    def forward(
        self,
        x: Tokens,
        *,
        mask: Tensor | None = None,
        context: Tensor | Ragged | None = None,
        context_mask: Tensor | None = None,
    ) -> Tokens:
        """Same tokens, same places. What is given is handed to the branch, which must know it."""
        given = {"mask": mask, "context": context, "context_mask": context_mask}
        given = {name: value for name, value in given.items() if value is not None}
        return self.around(x, lambda t: self.inner(t, **given))

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State]:
        """One token (B, C) through a recurrent branch."""
        after: list[State] = []

        def inner(t: Tensor) -> Tensor:
            y, new = self.inner.step(t, state)  # type: ignore[operator]
            after.append(new)
            return y

        return self.around(x_t, inner), after[0]

    def around(self, x: Tokens, inner: Callable[[Tokens], Tokens]) -> Tokens:
        """The residual connection around `inner`."""
        raise NotImplementedError(f"{type(self).__name__} does not say where the norm stands")

    def scaled(self, x: Tokens) -> Tokens:
        """The branch's output, scaled and perhaps left out."""
        scale = self.scale
        return self.drop_path(x if scale is None else per_token(lambda t: t * scale, x))


class PreNorm(Residual):
    """x + s f(norm(x))."""

    def around(self, x: Tokens, inner: Callable[[Tokens], Tokens]) -> Tokens:
        return _add(x, self.scaled(inner(per_token(self.norm, x))))


class PostNorm(Residual):
    """norm(x + s f(x))."""

    def around(self, x: Tokens, inner: Callable[[Tokens], Tokens]) -> Tokens:
        return per_token(self.norm, _add(x, self.scaled(inner(x))))


class SandwichNorm(Residual):
    """x + s norm_after(f(norm(x)))."""

    def __init__(
        self,
        dim: int,
        inner: nn.Module,
        *,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(dim, inner, norm=norm, layer_scale=layer_scale, drop_path=drop_path)
        self.norm_after = norm(dim)

    def around(self, x: Tokens, inner: Callable[[Tokens], Tokens]) -> Tokens:
        return _add(x, self.scaled(per_token(self.norm_after, inner(per_token(self.norm, x)))))


class Block(nn.Module):
    """A mixer and, if given, a channel mixer, each in a residual branch.

    Args:
        dim: width of the tokens.
        mixer: mixes tokens.
        channel: mixes channels: a function of tokens alone, or also of `mask` if its signature has one.
        residual: where the norm stands.
        norm: makes a norm from a width.
        layer_scale: first value of the learned scale; None = no scale.
        drop_path: share of samples whose branches are left out in training.
    """

    def __init__(
        self,
        dim: int,
        mixer: nn.Module,
        channel: nn.Module | None = None,
        *,
        residual: type[Residual] = PreNorm,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.mix = residual(dim, mixer, norm=norm, layer_scale=layer_scale, drop_path=drop_path)
        self.feed = (
            None if channel is None else residual(dim, channel, norm=norm, layer_scale=layer_scale, drop_path=drop_path)
        )
        self._feed_masked = channel is not None and "mask" in signature(channel.forward).parameters

    def forward(
        self,
        x: Tokens,
        *,
        mask: Tensor | None = None,
        context: Tensor | Ragged | None = None,
        context_mask: Tensor | None = None,
    ) -> Tokens:
        """Same tokens, same places.

        Raises:
            TypeError: where something is given that the mixer does not take.
        """
        x = self.mix(x, mask=mask, context=context, context_mask=context_mask)
        if self.feed is None:
            return x
        if self._feed_masked:
            return self.feed(x, mask=mask)
        feed = self.feed
        return feed.around(x, lambda t: per_token(feed.inner, t))

    def initial_state(self, batch: int, device: torch.device | str | None, dtype: torch.dtype | None) -> State:
        """The mixer's state before the first token."""
        return self.mix.inner.initial_state(batch, device, dtype)  # type: ignore[operator]

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State]:
        """One token (B, C) through a block whose mixer is recurrent."""
        x_t, state = self.mix.step(x_t, state)
        return (x_t if self.feed is None else self.feed(x_t)), state


class Stack(nn.Module):
    """Blocks one after the other; what is given besides x goes to each of them.

    Args:
        blocks: the blocks, of one kind or of several (hybrid stacks).
        norm: a last norm over tokens, as stacks of pre-norm blocks need.
    """

    def __init__(self, blocks: Sequence[nn.Module], norm: nn.Module | None = None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm

    def forward(
        self,
        x: Tokens,
        *,
        mask: Tensor | None = None,
        context: Tensor | Ragged | None = None,
        context_mask: Tensor | None = None,
    ) -> Tokens:
        for block in self.blocks:
            x = block(x, mask=mask, context=context, context_mask=context_mask)
        return x if self.norm is None else per_token(self.norm, x)

    def initial_state(
        self, batch: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> tuple[State, ...]:
        """The states of all blocks before the first token."""
        return tuple(block.initial_state(batch, device, dtype) for block in self.blocks)  # type: ignore[operator]

    def step(self, x_t: Tensor, state: Sequence[State]) -> tuple[Tensor, tuple[State, ...]]:
        """One token (B, C) through a stack whose mixers are recurrent."""
        after = []
        for block, own in zip(self.blocks, state, strict=True):
            x_t, own = block.step(x_t, own)  # type: ignore[operator]
            after.append(own)
        return (x_t if self.norm is None else self.norm(x_t)), tuple(after)


def blocks(
    dim: int,
    depth: int,
    make_mixer: Callable[[int], nn.Module],
    make_channel: Callable[[int], nn.Module] | None = None,
    *,
    residual: type[Residual] = PreNorm,
    norm: Callable[[int], nn.Module] = nn.LayerNorm,
    layer_scale: float | None = None,
    drop_path: float | Sequence[float] = 0.0,
) -> list[Block]:
    """`depth` blocks with a fresh mixer and channel mixer each.

    Args:
        dim: width of the tokens.
        depth: number of blocks.
        make_mixer: makes a mixer from the width.
        make_channel: makes a channel mixer from the width.
        residual: where the norm stands.
        norm: makes a norm from a width.
        layer_scale: first value of the learned scale; None = no scale.
        drop_path: the last block's share, rising evenly from 0 at the first; or one share a block.
    """
    if isinstance(drop_path, int | float):
        drop_path = torch.linspace(0, drop_path, depth, device="cpu").tolist()
    return [
        Block(
            dim,
            make_mixer(dim),
            None if make_channel is None else make_channel(dim),
            residual=residual,
            norm=norm,
            layer_scale=layer_scale,
            drop_path=share,
        )
        for share in drop_path
    ]


def _add(x: Tokens, y: Tokens) -> Tokens:
    if isinstance(x, Ragged):
        assert isinstance(y, Ragged)
        return x.with_tokens(x.tokens + y.tokens)
    return x + y
