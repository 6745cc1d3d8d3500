"""Published separation results: data -> system -> SI-SDR improvement in dB, two speakers unless the name says three.

Zero-mean SI-SDR, best permutation, mean over the test set at 8 kHz. "+DM" was trained with dynamic mixing.
"""

__all__ = ["PUBLISHED"]

_SETS = ("WSJ0-2mix", "WSJ0-3mix", "Libri2Mix", "WHAM!", "WHAMR!")

_ROWS = {
    "Conv-TasNet (paper)": "15.3 12.7 14.7 12.7 8.3",
    "DPRNN (paper)": "18.8 14.7 16.1 13.9 10.3",
    "SepFormer (paper)": "20.4 17.6 19.2 - -",
    "SepFormer +DM (SpeechBrain)": "22.4 19.8 20.4 - 14.0",
    "Wavesplit +DM (paper)": "22.2 17.8 20.5 16.0 13.2",
    "TF-GridNet (paper)": "23.5 - - - 17.3",
    "MossFormer L +DM (paper)": "22.8 21.2 - 17.3 16.3",
    "MossFormer2 +DM (paper)": "24.1 22.2 21.7 18.1 17.0",
}

PUBLISHED: dict[str, dict[str, float]] = {name: {} for name in _SETS}
for _system, _numbers in _ROWS.items():
    for _name, _number in zip(_SETS, _numbers.split(), strict=True):
        if _number != "-":
            PUBLISHED[_name][_system] = float(_number)
