"""Models: BIOT, recording of attention, maps over tokens."""

from biot_bd.models.attention import AttentionRecord, AttentionTrace, attention_layers, record_attention
from biot_bd.models.biot import BIOT
from biot_bd.models.checkpoints import KNOWN, CheckpointError, load_checkpoint, save_checkpoint
from biot_bd.models.encoder import BIOTEncoder, TokenLayout
from biot_bd.models.load_report import LoadReport
from biot_bd.models.maps import attention_received, channel_attention, early_middle_late
from biot_bd.models.provenance import ContaminationError, Provenance, Seen, check_clean, provenance_of

__all__ = [
    "BIOT",
    "KNOWN",
    "AttentionRecord",
    "AttentionTrace",
    "BIOTEncoder",
    "CheckpointError",
    "ContaminationError",
    "LoadReport",
    "Provenance",
    "Seen",
    "TokenLayout",
    "attention_layers",
    "attention_received",
    "channel_attention",
    "check_clean",
    "early_middle_late",
    "load_checkpoint",
    "provenance_of",
    "record_attention",
    "save_checkpoint",
]
