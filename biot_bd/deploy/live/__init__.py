"""The detector on a live signal: sources, the recording's clock, lines of JSON, the page."""

from biot_bd.deploy.live.detector import LiveDetector
from biot_bd.deploy.live.source import Chunk, LiveSource, Notice

__all__ = ["Chunk", "LiveDetector", "LiveSource", "Notice"]
