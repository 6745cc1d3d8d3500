"""Positions, each a small class at one of six places (see `core.positions.base`)."""

from core.positions.absolute import LearnedPosition, Sinusoid
from core.positions.base import ScoreBias
from core.positions.conditional import ConditionalPosition
from core.positions.dynamic_bias import DynamicBias
from core.positions.lepe import LePE
from core.positions.mlp_bias import LogMLPBias
from core.positions.relative import RelativeTable
from core.positions.rotary import Rotary, RotaryInterleaved
from core.positions.sinusoid import sinusoid

__all__ = [
    "ConditionalPosition",
    "DynamicBias",
    "LePE",
    "LearnedPosition",
    "LogMLPBias",
    "RelativeTable",
    "Rotary",
    "RotaryInterleaved",
    "ScoreBias",
    "Sinusoid",
    "sinusoid",
]
