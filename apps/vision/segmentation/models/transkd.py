"""TransKD (Liu et al. 2022, "Transformer-based knowledge distillation for efficient semantic segmentation", arXiv
2202.13393): a student learns the feature maps of a teacher, and what its patch embeddings make of their inputs.

    fusion    coarse to fine: x = BN(1x1 features); with y the fused map of the level below (nearest) and a softmax over
              the two, by channel, of W relu(BN(W mean(x + y))):  x <- a x + b y;  to the teacher's width BN(3x3 x)
    Base      Linear(embedding) at every level
    GL        the last one after  w_a attention(e) + w_c conv(e) sigmoid(conv(e)), over the sequence of tokens
    EA        a Linear(e) + b (overlapping patch embedding of teacher's width of the level's input)
    loss      of segmentation + context loss of the fused maps + sum_i w_i MSE(embedding_i), w = .1, .1, .5, 1

Any backbone of `apps.vision.backbones` is student or teacher.  In training `TransKD` leaves the loss of distillation in
`aux`; evaluated, it is the student alone.

Decided differently: the teacher runs without gradients and without its head, and is no part of checkpoints; w_a and w_c
start at 1 (uninitialised memory in the release); one image alone takes the same layers as several (`official` has the
release's other one, whose weights nothing trains).
"""

__all__ = ["GLMixer", "LevelFusion", "MatchEA", "MatchGL", "MatchLinear", "TransKD"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.backbones.base import Backbone
from apps.vision.backbones.checkpoints import load_backbone
from apps.vision.segmentation.models.distillation import context_loss
from apps.vision.segmentation.models.layers import ConvNorm, maps, resize
from apps.vision.segmentation.models.segmenter import EncoderDecoder, Head, Logits, Segmenter
from core.ops.attend import attend
from core.resample import ConvEmbed

WEIGHTS = (0.1, 0.1, 0.5, 1.0)


class LevelFusion(nn.Module):
    """One level of the student's maps, with what comes from below.

    Args:
        channels, mid, width: of the student's map, inside, and of the teacher's map.
        below: whether there is a coarser level.
        official: the release's other layer for one image alone.
    """

    def __init__(self, channels: int, mid: int, width: int, below: bool, official: bool = False) -> None:
        super().__init__()
        self.official = official
        self.enter, self.out = ConvNorm(channels, mid, act=None), ConvNorm(mid, width, 3, act=None)
        self.squeeze = self.alone = self.choose = None
        if below:
            narrow = max(mid // 16, 32)
            self.squeeze = ConvNorm(mid, narrow)
            self.choose = nn.ModuleList(nn.Conv2d(narrow, mid, 1) for _ in range(2))
            self.alone = nn.Conv2d(mid, narrow, 1, bias=False) if official else None
        for part in (self.enter, self.out):
            nn.init.kaiming_uniform_(part.conv.weight, a=1)

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, channels, H, W) -> (B, width, H, W) and, to go on with, (B, mid, H, W)."""
        x = self.enter(x)
        if y is not None:
            assert self.choose is not None
            y = F.interpolate(y, x.shape[-2:], mode="nearest")
            z = self._squeezed((x + y).mean((2, 3), keepdim=True))
            a, b = torch.stack([layer(z) for layer in self.choose]).softmax(0)
            x = a * x + b * y
        return self.out(x), x

    def _squeezed(self, mean: Tensor) -> Tensor:
        assert self.squeeze is not None
        if len(mean) > 1 or not (self.training or self.official):
            return self.squeeze(mean)
        if self.alone is not None:
            return F.relu(self.alone(mean))
        # A single value has no variance: the running statistics serve.
        norm = self.squeeze.norm
        y = F.batch_norm(
            self.squeeze.conv(mean), norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps
        )
        return F.relu(y)


class GLMixer(nn.Module):
    """w_a attention(e) + w_c conv(e) sigmoid(conv(e)) over a sequence (B, N, dim).

    Args:
        dim: width.
        heads: of the attention.
        residual: adds e.
    """

    def __init__(self, dim: int, heads: int = 8, residual: bool = False) -> None:
        super().__init__()
        self.heads, self.residual = heads, residual
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.value, self.gate = (nn.Conv1d(dim, dim, 3, padding=1) for _ in range(2))
        self.attention_weight, self.conv_weight = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

    def forward(self, e: Tensor) -> Tensor:
        """(B, N, dim) -> the same."""
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in self.qkv(e).chunk(3, -1))
        y = self.attention_weight * self.proj(attend(q, k, v).transpose(1, 2).flatten(2))
        rows = e.mT
        y = y + self.conv_weight * (self.value(rows) * self.gate(rows).sigmoid()).mT
        return y + e if self.residual else y


class MatchLinear(nn.Module):
    """The student's embeddings at the teacher's widths (TransKD-Base).

    Args:
        student, teacher: widths of the levels.
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int]) -> None:
        super().__init__()
        self.linear = nn.ModuleList(nn.Linear(a, b) for a, b in zip(student, teacher, strict=True))

    def forward(self, embeddings: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        """(B, h, w, C) each -> (B, h, w, C') each.

        Args:
            embeddings: what each level begins with.
            inputs: what it made these of: the image, then the levels before.
        """
        return [layer(e) for layer, e in zip(self.linear, embeddings, strict=True)]


class MatchGL(MatchLinear):
    """With a mixer of the last level before (TransKD-GL).

    Args:
        student, teacher: widths of the levels.
        heads: of the mixer's attention.
        residual: adds what it mixes.
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int], heads: int = 8, residual: bool = False) -> None:
        super().__init__(student, teacher)
        self.mixer = GLMixer(student[-1], heads, residual)

    def forward(self, embeddings: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        """As `MatchLinear`."""
        last = embeddings[-1]
        mixed = self.mixer(last.flatten(1, 2)).view_as(last)
        return super().forward([*embeddings[:-1], mixed], inputs)


class MatchEA(MatchLinear):
    """With patch embeddings of the teacher's width beside (TransKD-EA).

    Args:
        student, teacher: widths of the levels.
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int]) -> None:
        super().__init__(student, teacher)
        sizes = zip([3, *student[:-1]], teacher, [7, *[3] * (len(student) - 1)], strict=True)
        self.embed = nn.ModuleList(
            ConvEmbed(a, b, (kernel, kernel), ((4, 4) if kernel == 7 else (2, 2)), norm=nn.LayerNorm)
            for a, b, kernel in sizes
        )
        self.weights = nn.Parameter(0.1 * torch.arange(1.0, 2 * len(student) + 1))

    def forward(self, embeddings: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        """As `MatchLinear`."""
        own, others = self.weights.chunk(2)
        made = super().forward(embeddings, inputs)
        embedded = [layer(x, None).tokens for layer, x in zip(self.embed, inputs, strict=True)]
        return [a * x + b * y for a, b, x, y in zip(own, others, made, embedded, strict=True)]


class TransKD(Segmenter):
    """A student that learns from a teacher as well.

    Args:
        classes: numbers that are predicted for a pixel.
        backbone, head: of the student, as in `EncoderDecoder`.
        teacher: a backbone with as many levels.
        match: compares patch embeddings; made by one of the classes above from the widths of student and teacher.
        mid: width of the fusion.
        weights: of the levels' embeddings in the loss.
        teacher_weights: file that fills the teacher when training begins: a checkpoint of `omnimix segmentation fit`
            or a release's; it is trained already if not given.
        official: see `LevelFusion`.

    Attributes:
        aux: the loss of distillation after a step of training.
    """

    def __init__(
        self,
        classes: int,
        backbone: Backbone,
        head: Head,
        teacher: Backbone,
        match: Callable[[Sequence[int], Sequence[int]], MatchLinear] | None = MatchLinear,
        mid: int = 64,
        weights: Sequence[float] = WEIGHTS,
        teacher_weights: str | None = None,
        official: bool = False,
    ) -> None:
        super().__init__()
        self.aux: Tensor | None = None
        self.teacher_weights = teacher_weights
        self.student, self.weights = EncoderDecoder(classes, backbone, head), tuple(weights)
        # In a list: no part of the state, and nothing trains it.
        self._teacher = [teacher.eval().requires_grad_(False)]
        own = backbone.channels
        self.fusions = nn.ModuleList(
            LevelFusion(a, mid, b, n + 1 < len(own), official)
            for n, (a, b) in enumerate(zip(own, teacher.channels, strict=True))
        )
        self.match = None if match is None else match(own, teacher.channels)

    def train(self, mode: bool = True) -> "TransKD":
        """Reads the teacher's weights, once; a student that is evaluated needs none.

        Raises:
            UserError: the file is missing or of another network.
        """
        if mode and self.teacher_weights is not None:
            load_backbone(self._teacher[0], self.teacher_weights)
            self.teacher_weights = None
        return super().train(mode)

    def forward(self, x: Tensor) -> Logits:
        """(B, 3, H, W) -> the student's logits; in training also `aux`."""
        self.aux = None
        if not self.training:
            return self.student(x)
        embeddings, features = self.levels(self.student.backbone, x)  # type: ignore[arg-type]
        with torch.no_grad():
            teacher = self._teacher[0].to(x.device)
            wanted, goals = self.levels(teacher, x)
        loss = context_loss(self.fused(features), maps(goals))
        for weight, made, goal in zip(self.weights, self.matched(x, embeddings, features), wanted, strict=False):
            loss = loss + weight * F.mse_loss(made, goal)
        self.aux = loss
        return Logits(resize(self.student.head(features), (x.shape[-2], x.shape[-1])))

    def fused(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Feature maps (B, h, w, C) -> (B, C', h, w) of the teacher's widths, fine to coarse."""
        made, below = [], None
        for x, fusion in zip(maps(features)[::-1], list(self.fusions)[::-1], strict=True):
            y, below = fusion(x, below)
            made.append(y)
        return made[::-1]

    def matched(self, x: Tensor, embeddings: Sequence[Tensor], features: Sequence[Tensor]) -> list[Tensor]:
        """The student's embeddings at the teacher's widths; none without a way to match them."""
        return [] if self.match is None else self.match(embeddings, [x.movedim(1, -1), *features[:-1]])

    @staticmethod
    def levels(backbone: Backbone, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """What each level begins with and ends with, (B, h, w, C) each."""
        embeddings, features, y = [], [], x.movedim(1, -1)
        for stage in backbone.stages:
            y, _ = stage.enter(y)  # type: ignore[operator]
            embeddings.append(y)
            y = stage.mix(y)  # type: ignore[operator]
            features.append(y)
        return embeddings, features
