"""Channel mixers: `(..., dim) -> (..., dim)`; all but channel attention treat every token alike."""

from core.channels.adapter import BottleneckAdapter
from core.channels.channel_attention import ChannelAttention
from core.channels.mlp import MLP, GatedMLP

__all__ = ["MLP", "BottleneckAdapter", "ChannelAttention", "GatedMLP"]
