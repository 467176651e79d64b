from .decided_curve import DecidedCurve as DecidedCurve
from .decided_curve import curve_of as curve_of
from .detection_record import DetectionRecord as DetectionRecord
from .detection_record import read_detection as read_detection
from .detection_record import write_detection_record as write_detection_record
from .detection_stream import DetectionStream as DetectionStream
from .detector import Detection as Detection
from .detector import Detector as Detector
