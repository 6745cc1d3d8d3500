"""Published vision backbones as feature pyramids; `Classifier` and `Normed` put their release's ends on them."""

__all__ = ["Backbone", "Classifier", "Normed", "Stage", "load_release"]

from apps.vision.backbones.base import Backbone, Normed, Stage
from apps.vision.backbones.checkpoints import load_release
from apps.vision.backbones.classifier import Classifier
