"""Channel mixers: `(..., dim) -> (..., dim)`; all but channel attention and `ConvMLP` treat every token
alike."""

from core.channels.adapter import BottleneckAdapter
from core.channels.channel_attention import ChannelAttention
from core.channels.conv_mlp import ConvMLP
from core.channels.gelu_tanh import GELUTanh
from core.channels.mlp import MLP, GatedMLP
from core.channels.star_relu import SquaredReLU, StarReLU

__all__ = ["MLP", "BottleneckAdapter", "ChannelAttention", "ConvMLP", "GELUTanh", "GatedMLP", "SquaredReLU", "StarReLU"]
