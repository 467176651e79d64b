from .detector import LiveDetector as LiveDetector
from .source import Chunk as Chunk
from .source import LiveSource as LiveSource
from .source import Notice as Notice
