"""Models: BIOT, recording of attention, maps over tokens."""

from biot_bd.models.attention import AttentionRecord, AttentionTrace, attention_layers, record_attention
from biot_bd.models.biot import BIOT
from biot_bd.models.encoder import BIOTEncoder, TokenLayout
from biot_bd.models.maps import attention_received, channel_attention, early_middle_late

__all__ = [
    "BIOT",
    "AttentionRecord",
    "AttentionTrace",
    "BIOTEncoder",
    "TokenLayout",
    "attention_layers",
    "attention_received",
    "channel_attention",
    "early_middle_late",
    "record_attention",
]
