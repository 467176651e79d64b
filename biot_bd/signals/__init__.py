"""Signal steps: montage, resampling, filters, scaling, as scikit-learn transformers over windows."""

from biot_bd.signals.base import SignalInfo, WindowTransformer
from biot_bd.signals.filters import BandPass, Notch
from biot_bd.signals.mapper import MontageMapper
from biot_bd.signals.montages import MissingChannelsError, Montage, canonical_name, plan_montage
from biot_bd.signals.resampler import Resampler
from biot_bd.signals.resampling import resample_fft, resample_fft_window, resample_polyphase, resampled_length
from biot_bd.signals.scaler import PercentileScaler

__all__ = [
    "BandPass",
    "MissingChannelsError",
    "Montage",
    "MontageMapper",
    "Notch",
    "PercentileScaler",
    "Resampler",
    "SignalInfo",
    "WindowTransformer",
    "canonical_name",
    "plan_montage",
    "resample_fft",
    "resample_fft_window",
    "resample_polyphase",
    "resampled_length",
]
