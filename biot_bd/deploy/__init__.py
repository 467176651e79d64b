"""Deploy: a saved model as a detector for recordings and live signals."""

from biot_bd.deploy.detector import Detection, Detector

__all__ = ["Detection", "Detector"]
