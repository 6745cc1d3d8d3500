"""P2AT and its parts under the release's constructor arguments."""

__all__ = ["P2AT_GOLDENS"]

from collections.abc import Callable

from torch import Tensor, nn
from torchvision.models import resnet18, resnet34, resnet50

from apps.vision.rules import COUNTERS
from apps.vision.segmentation.models import names_p2at as names
from apps.vision.segmentation.models.layers import ConvNorm, resize
from apps.vision.segmentation.models.p2at import (
    P2A2,
    P2AT,
    Decoder,
    Fusion,
    GlobalContext,
    LocalRefinement,
    PixelHead,
    PlainBlock,
    PooledPyramid,
    conv_act,
    linear,
)
from core.checkpoint import Mapping, Rule
from core.verify import Facts, Golden

ENCODERS = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50}


class _Details(nn.Module):
    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.enter, self.details = ConvNorm(channels, dim, act=None), ConvNorm(dim, dim, 3, act=None)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return self.details(x) + x


class _Upward(nn.Module):
    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.decoded, self.gate = conv_act(channels, dim), linear(channels, dim, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoded(x) * self.gate(x).softmax(1)


def _attention(facts: Facts, ratio: float) -> tuple:
    config = facts.config
    sizes = config["dim"], config["key_dim"], config["num_heads"], ratio
    return *sizes, facts.get("pos_embed_initial_shape", 16), True


def _network(facts: Facts) -> P2AT:
    return P2AT(
        facts.get("num_classes", 19),
        ENCODERS[facts.config["backbone"]],
        length=facts.get("pos_embed_initial_shape", 16),
        helpers=facts.get("is_train", True),
        official=True,
    )


def _call_network(run: Callable, inputs: dict[str, Tensor]) -> list[Tensor]:
    """In training the release lists the first helper, the logits, the second helper."""
    made = run(*inputs.values())
    return [made.others[0], made.main, made.others[1]] if made.others else [made.main]


def _call_head(run: Callable, inputs: dict[str, Tensor]) -> Tensor:
    y = run(*inputs.values())
    return resize(y, (y.shape[-2] * 2, y.shape[-1] * 2), align_corners=True)


def _part(build: Callable[[Facts], nn.Module], rules: list[Rule], **more) -> Golden:
    return Golden(build, Mapping(*rules, ignore=COUNTERS), **more)


P2AT_GOLDENS = {
    "P2AT": Golden(_network, lambda facts: names.p2at_mapping(facts.get("is_train", True)), _call_network),
    "P2A2Module": _part(lambda f: P2A2(*_attention(f, f.get("att_ratio", 4.0))), names.attention_rules()),
    "AttentionBlock": _part(lambda f: PlainBlock(*_attention(f, f.get("attn_ratio", 2.0))), names.block_rules()),
    "P2Module": _part(lambda f: PooledPyramid(f.config["in_channels"], True), names.pyramid_rules()),
    "LFImodule": _part(lambda f: _Details(f.config["in_channels"], f.config["out_channels"]), names.details_rules()),
    "LFRBlock": _part(
        lambda f: LocalRefinement(f.config["in_channels"], f.config["out_channels"]), names.refine_rules()
    ),
    "SFUBlock": _part(lambda f: _Upward(f.config["in_channels"], f.config["out_channels"]), names.upward_rules()),
    "BiFModule": _part(
        lambda f: Fusion(*(f.config[f"{n}_channels"] for n in ("d", "s", "u", "out"))), names.fusion_rules()
    ),
    "GCEBlock": _part(lambda f: GlobalContext(f.config["in_channels"]), names.context_rules()),
    "DecoderBlock": _part(lambda f: Decoder(f.config["in_dim"], f.get("kernel_size", 7)), names.decoder_rules()),
    "SegHead": _part(
        lambda f: PixelHead(*(f.config[f"{n}_channels"] for n in ("in", "inter")), f.config["out_channels"]),
        names.head_rules(),
        call=_call_head,
    ),
}
