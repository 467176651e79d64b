"""A plugin of biot_bd: what it adds, by name.

The import paths are resolved when somebody asks for the thing, so ``biot-bd plugins`` stays fast.
"""

from biot_bd.hookspecs import Register, hookimpl


@hookimpl
def register_losses(register: Register) -> None:
    """Add the loss."""
    register("focal-tversky", "biot_bd_tutorial.focal_tversky:FocalTverskyLoss")


@hookimpl
def register_datasets(register: Register) -> None:
    """Add the data set."""
    register("csv-folder", "biot_bd_tutorial.csv_folder:load_csv_folder")


@hookimpl
def register_probes(register: Register) -> None:
    """Add the probe."""
    register("patch-occlusion", "biot_bd_tutorial.patch_occlusion:PatchOcclusion")


@hookimpl
def register_objectives(register: Register) -> None:
    """Add the pretraining objective."""
    register("band-power", "biot_bd_tutorial.band_power:BandPower")


@hookimpl
def register_exporters(register: Register) -> None:
    """Add the exporter."""
    register("npz", "biot_bd_tutorial.npz_archive:export_npz")
