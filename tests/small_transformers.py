"""Small transformers of every kind that the product knows, untrained, in eval mode."""

import warnings

import torch
from braindecode import models as braindecode

from biot_bd import BIOT
from biot_bd.models import MaskedViT, MultiScaleBIOT
from biot_bd.models.braindecode_models import Labram

N_CHANS, N_TIMES, SFREQ = 3, 600, 200
_SIZES = {"n_outputs": 2, "n_chans": N_CHANS, "n_times": N_TIMES, "sfreq": SFREQ}
_BIOT = {"embed_dim": 16, "num_heads": 2, "num_layers": 2, "drop_prob": 0.1}


def _with_channel_attention():
    model = MultiScaleBIOT(**_SIZES, **_BIOT, channel_attention=True)
    torch.nn.init.normal_(model.encoder.channel_attention.to_out.weight)  # which adds nothing at first
    return model


_MAKE = {
    "BIOT": lambda: BIOT(**_SIZES, **_BIOT),
    "BIOT, class token": lambda: BIOT(**_SIZES, **_BIOT, class_token=True),
    "BIOT of braindecode": lambda: braindecode.BIOT(**_SIZES, **_BIOT),
    "MultiScaleBIOT": lambda: MultiScaleBIOT(**_SIZES, **_BIOT, class_token=True),
    "MultiScaleBIOT, channels": _with_channel_attention,
    "BENDR": lambda: braindecode.BENDR(
        **_SIZES, encoder_h=32, contextualizer_hidden=16, transformer_layers=2, transformer_heads=2
    ),
    "CBraMod": lambda: braindecode.CBraMod(**_SIZES, dim_feedforward=16, n_layer=2, nhead=4),
    "CTNet": lambda: braindecode.CTNet(**_SIZES, num_layers=2, embed_dim=8, num_heads=2),
    "EEGConformer": lambda: braindecode.EEGConformer(**_SIZES, n_filters_time=8, num_layers=2, num_heads=2),
    "EEGDINO": lambda: braindecode.EEGDINO(**_SIZES, n_layer=3, nhead=2, dim_feedforward=16, global_token_layer=2),
    "LaBraM": lambda: Labram(**_SIZES, ch_names=["Fp1", "Cz", "O2"], num_layers=2, num_heads=2),
    "LaBraM, mean": lambda: Labram(
        **_SIZES, ch_names=["Fp1", "Cz", "O2"], num_layers=2, num_heads=2, use_mean_pooling=True
    ),
    "MaskedViT": lambda: MaskedViT(**_SIZES, patch_samples=100, embed_dim=16, num_layers=2, num_heads=2),
    "MaskedViT, together": lambda: MaskedViT(
        **_SIZES, channels="together", patch_samples=50, embed_dim=16, num_layers=2, num_heads=2
    ),
    "MSVTNet": lambda: braindecode.MSVTNet(**_SIZES, n_filters_list=(2, 2, 2, 2), num_heads=2),
    "PBT": lambda: braindecode.PBT(**_SIZES, d_input=100, embed_dim=16, num_layers=2, num_heads=2),
    "STEEGFormer": lambda: braindecode.STEEGFormer(
        **_SIZES, patch_size=100, embed_dim=16, depth=2, num_heads=2, chan_pos_idx=[0, 1, 2]
    ),
}
NAMES = tuple(_MAKE)


def small_transformer(name):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _MAKE[name]().eval()


def small_windows(n=2, seed=1):
    return torch.randn(n, N_CHANS, N_TIMES, generator=torch.Generator().manual_seed(seed))
