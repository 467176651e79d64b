"""What this plugin adds to biot_bd; nothing heavy is imported until it is used."""

from biot_bd.hookspecs import Register, hookimpl


@hookimpl
def register_datasets(register: Register) -> None:
    """Add the raw recordings."""
    register("things-eeg2", "biot_bd_things.recordings:load_things_eeg2")


@hookimpl
def register_label_rules(register: Register) -> None:
    """Add windows around shown images."""
    register("things-images", "biot_bd_things.shown:ShownImages")


@hookimpl
def register_montages(register: Register) -> None:
    """Add the electrodes of the published epochs."""
    register("things-17", "biot_bd_things.montage:THINGS_17")
