"""The backbones' table for `omnimix verify`: system -> official class -> how it is built, filled and called here."""

__all__ = ["GOLDENS"]

from core.verify import Golden

GOLDENS: dict[str, dict[str, Golden]] = {}
