"""Published vision backbones as feature pyramids; `Classifier` and `Normed` put their release's ends on them.

    features = swin_tiny()(image)                      # [(B, h, w, C)], strides 4, 8, 16, 32
    logits = Classifier(swin_tiny())(image)            # the release's head, 1000 classes
    features = Normed(swin_tiny())(image)              # a norm a level, as segmentation and detection have it
    load_release(network, "swin_tiny_patch4_window7_224.pth")

A backbone is a file `<name>.py` with a subclass of `Backbone` (a list of `Stage`s) and a function a published variant,
the names of its weights in `names_<name>.py` (listed in `checkpoints.py`), its golden files in `goldens_<name>.py`
(listed in `goldens.py`), and a test that calls `testing.check_backbone`.
"""

__all__ = ["Backbone", "Classifier", "Normed", "Stage", "load_release"]

from apps.vision.backbones.base import Backbone, Normed, Stage
from apps.vision.backbones.checkpoints import load_release
from apps.vision.backbones.classifier import Classifier
