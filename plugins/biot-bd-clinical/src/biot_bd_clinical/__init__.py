"""A plugin of biot_bd: recordings of Nicolet, Micromed and Nihon Kohden, read by eeg2edf.

This module only names what the plugin adds; eeg2edf is imported when a recording is opened.
"""

from biot_bd.hookspecs import Register, hookimpl


@hookimpl
def register_readers(register: Register) -> None:
    """Add the formats."""
    register("nicolet-e", "biot_bd_clinical.readers:NICOLET")
    register("micromed-vwr", "biot_bd_clinical.readers:MICROMED")
    register("nihon-kohden-blocks", "biot_bd_clinical.readers:NIHON_KOHDEN")
