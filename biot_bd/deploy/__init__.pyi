from .detection_stream import DetectionStream as DetectionStream
from .detector import Detection as Detection
from .detector import Detector as Detector
