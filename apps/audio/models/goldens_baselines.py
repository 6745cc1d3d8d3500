"""SpeechBrain's dual-path networks under their names and calling conventions, for `omnimix verify`.

dprnn        speechbrain 9c826ef: Dual_Path_Model around SBRNNBlock
sepformer    the same around SBTransformerBlock, and the whole SepformerWrapper
"""

__all__ = ["DPRNN", "SEPFORMER"]

from torch import nn

from apps.audio.models import dprnn, sepformer
from apps.audio.models.goldens_mossformer import call_last, call_masks
from apps.audio.models.names_baselines import SEPFORMER_SPEECHBRAIN, dual_path_rules, lstm_rules, transformer_rules
from core.checkpoint import Mapping
from core.verify import Facts, Golden

_TABLES = ("{any*}.pos_enc.pe",)


def _recurrent(facts: Facts) -> nn.Module:
    inner = facts.config["intra_model"]
    return dprnn.DPRNN(
        facts.config["out_channels"],
        facts.get("num_layers", 1),
        hidden=inner["hidden_channels"],
        chunk=facts.get("K", 200),
        speakers=facts.get("num_spks", 2),
        channels=facts.config["in_channels"],
    ).masks


def _transformer(facts: Facts) -> nn.Module:
    inner = facts.config["intra_model"]
    return sepformer.SepFormer(
        facts.config["out_channels"],
        facts.get("num_layers", 1),
        layers=inner["num_layers"],
        heads=inner["nhead"],
        hidden=inner.get("d_ffn", 2048),
        chunk=facts.get("K", 200),
        speakers=facts.get("num_spks", 2),
        channels=facts.config["in_channels"],
    ).masks


def _sepformer(facts: Facts) -> nn.Module:
    return sepformer.SepFormer(
        facts.get("encoder_out_nchannels", 256),
        facts.get("masknet_numlayers", 2),
        layers=facts.get("intra_numlayers", 8),
        heads=facts.get("intra_nhead", 8),
        hidden=facts.get("intra_dffn", 1024),
        chunk=facts.get("masknet_chunksize", 250),
        speakers=facts.get("masknet_numspks", 2),
        kernel=facts.get("encoder_kernel_size", 16),
        official=True,
    )


DPRNN = {"Dual_Path_Model": Golden(_recurrent, Mapping(*dual_path_rules("", "", lstm_rules)), call_masks)}

SEPFORMER = {
    "Dual_Path_Model": Golden(
        _transformer, Mapping(*dual_path_rules("", "", transformer_rules), ignore=_TABLES), call_masks
    ),
    "SepformerWrapper": Golden(_sepformer, SEPFORMER_SPEECHBRAIN, call_last),
}
