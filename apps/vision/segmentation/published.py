"""Published numbers, set -> system -> percent; mean IoU of one scale unless its name says otherwise.

CamVid's are of SegNet's split: 11 classes, 360 x 480 images, test. Networks that saw Cityscapes or ImageNet say so.
"""

__all__ = ["PANOPTIC", "SEMANTIC"]

SEMANTIC = {
    "CamVid test": {
        "SegNet-Basic (literature)": 46.4,
        "ENet (literature)": 51.3,
        "SegNet (literature, ImageNet)": 55.6,
        "FCN-8 (literature, ImageNet)": 57.0,
        "FC-DenseNet56 (literature)": 58.9,
        "Bayesian SegNet (literature, ImageNet)": 63.1,
        "Dilation8 (literature, ImageNet)": 65.3,
        "FC-DenseNet67 (literature)": 65.8,
        "FC-DenseNet103 (literature)": 66.9,
    },
    "Cityscapes val": {
        "TransKD-EA, MiT-B2 to MiT-B0 (release, labels at 1/4)": 68.98,
        "SegFormer-B0 (paper)": 76.2,
        "P2AT-M (paper)": 78.7,
        "SegFormer-B2 (paper)": 81.0,
        "SegFormer-B5 (paper)": 82.4,
    },
    "ADE20K validation": {
        "SegFormer-B0 (paper)": 37.4,
        "SegFormer-B2 (paper)": 46.5,
        "SegFormer-B5 (paper)": 51.0,
    },
}

PANOPTIC = {
    "COCO panoptic val2017": {
        "kMaX-DeepLab, ResNet-50 (release)": 53.3,
        "kMaX-DeepLab, ConvNeXt-T (release)": 55.5,
        "kMaX-DeepLab, ConvNeXt-L (release)": 57.9,
    },
    "Cityscapes val": {
        "kMaX-DeepLab, ResNet-50 (release)": 63.5,
        "kMaX-DeepLab, ConvNeXt-L (release)": 68.4,
    },
}
