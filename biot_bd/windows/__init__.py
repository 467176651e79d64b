"""Windows: label rules, ``prepare``, the store and lazy, array-like windows."""

from biot_bd.windows.labels import BiotOfficial, Overlap
from biot_bd.windows.preparation import PreparationError, prepare
from biot_bd.windows.windows import Windows

__all__ = ["BiotOfficial", "Overlap", "PreparationError", "Windows", "prepare"]
