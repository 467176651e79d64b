"""The electrodes over the back of the head that the published epochs of THINGS-EEG2 have."""

from biot_bd.signals import Montage

THINGS_17 = Montage(
    "things-17",
    ("Pz", "P3", "P7", "O1", "Oz", "O2", "P4", "P8", "P1", "P5", "PO7", "PO3", "POz", "PO4", "PO8", "P6", "P2"),
    "referential",
    description="17 electrodes over the back of the head, as in the preprocessed THINGS-EEG2",
)
