"""Published numbers of the classical protocol: set -> scale -> system -> PSNR in dB and SSIM on luma.

Enlarged from MATLAB-bicubic LR, as many pixels as the scale cut from every edge. Systems trained on more than DIV2K
(ImageNet pre-training) say so.
"""

__all__ = ["PUBLISHED"]

_SETS = ("Set5", "Set14", "BSD100", "Urban100", "Manga109")

# "PSNR/SSIM" or "PSNR", in the order of the sets.
_ROWS = {
    2: {
        "bicubic (published)": "33.66/.9299 30.24/.8688 29.56/.8431 26.88/.8403 30.80/.9339",
        "SwinIR (paper)": "38.42 34.46 32.53 33.81 39.92",
        "HAT-S (paper)": "38.58 34.70 32.59 34.31 40.14",
        "HAT (paper)": "38.63 34.86 32.62 34.45 40.26",
        "HAT-L (paper, ImageNet)": "38.91 35.29 32.74 35.09 41.01",
        "DLGSANet-tiny (release)": "38.16 33.92 32.26 32.82 39.14",
        "DLGSANet-light (release)": "38.20 33.89 32.30 32.94 39.29",
    },
    3: {
        "bicubic (published)": "30.39/.8682 27.55/.7742 27.21/.7385 24.46/.7349 26.95/.8556",
        "SwinIR (paper)": "34.97 30.93 29.46 29.75 35.12",
        "HAT-S (paper)": "35.01 31.05 29.50 30.15 35.40",
        "HAT (paper)": "35.07 31.08 29.54 30.23 35.53",
        "HAT-L (paper, ImageNet)": "35.28 31.47 29.63 30.92 36.02",
        "DLGSANet-tiny (release)": "34.63 30.57 29.21 28.69 34.10",
        "DLGSANet-light (release)": "34.70 30.58 29.24 28.83 34.16",
    },
    4: {
        "bicubic (published)": "28.42/.8104 26.00/.7027 25.96/.6675 23.14/.6577 24.89/.7866",
        "SRCNN (paper)": "30.48 - - - -",
        "SwinIR (release)": "32.92/.9044 29.09/.7950 27.92/.7489 27.45/.8254 32.03/.9260",
        "SwinIR-light (paper)": "32.44/.8976 28.77/.7858 27.69/.7406 26.47/.7980 30.92/.9151",
        "HAT-S (release)": "32.92/.9047 29.15/.7958 27.97/.7505 27.87/.8346 32.35/.9283",
        "HAT (release)": "33.04/.9056 29.23/.7973 28.00/.7517 27.97/.8368 32.48/.9292",
        "HAT-L (release, ImageNet)": "33.30/.9083 29.47/.8015 28.09/.7551 28.60/.8498 33.09/.9335",
        "DRCT (release)": "33.11 29.35 28.18 28.06 32.59",
        "DRCT-L (release, ImageNet)": "33.37 29.54 28.16 28.70 33.14",
        "RGT-S (release)": "32.98 29.18 27.98 27.89/.8347 32.38",
        "RGT (release)": "33.12 29.23 28.00 27.98/.8369 32.50",
        "DLGSANet-tiny (release)": "32.46/.8984 28.79/.7861 27.70/.7408 26.55/.8002 30.98/.9137",
        "DLGSANet-light (release)": "32.54/.8993 28.84/.7871 27.73/.7415 26.66/.8033 31.13/.9161",
    },
}


def _parsed() -> dict[str, dict[int, dict[str, dict[str, float]]]]:
    out: dict[str, dict[int, dict[str, dict[str, float]]]] = {name: {} for name in _SETS}
    for scale, systems in _ROWS.items():
        for system, numbers in systems.items():
            for name, pair in zip(_SETS, numbers.split(), strict=True):
                if pair == "-":
                    continue
                values = dict(zip(("PSNR", "SSIM"), map(float, pair.split("/")), strict=False))
                out[name].setdefault(scale, {})[system] = values
    return out


PUBLISHED = _parsed()
