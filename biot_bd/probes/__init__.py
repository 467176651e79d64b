"""Probes: what a model looks at, and what its decision rests on."""

from biot_bd.probes.attention import AttentionProbe, QKAttentionProbe, by_channel, received
from biot_bd.probes.base import Explanation, Probe

__all__ = ["AttentionProbe", "Explanation", "Probe", "QKAttentionProbe", "by_channel", "received"]
