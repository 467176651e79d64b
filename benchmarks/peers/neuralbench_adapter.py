"""NeuralBench: BIOT's bipolar adapter takes electrodes, and finds none where channels are pairs."""

from __future__ import annotations

import json
import logging
import re

import pydantic
import yaml
from _peer import installed_file, load_module

import biot_bd  # noqa: F401  (braindecode, which the adapter imports, beside a CPU torch)

CHBMIT = "FP1-F7 F7-T7 T7-P7 P7-O1 FP1-F3 F3-C3 C3-P3 P3-O1 FP2-F4 F4-C4 C4-P4 P4-O2 FP2-F8 F8-T8 T8-P8 P8-O2 FZ-CZ CZ-PZ".split()
ELECTRODES = "Fp1 Fp2 F7 F3 Fz F4 F8 T7 C3 Cz C4 T8 P7 P3 Pz P4 P8 O1 O2".split()


class Anything(pydantic.BaseModel):
    """In place of the peer's other configurations, which the adapter does not use."""


def covered(ch_names: list[str]) -> int:
    """Return how many of the 18 rows the peer's adapter fills, by what it logs."""
    stand_ins = {
        "neuraltrain.models.common": {"ChannelMerger": Anything, "Mlp": Anything},
        "neuraltrain.models.preprocessor": {"OnTheFlyPreprocessor": Anything},
        "neuralbench": {"__path__": []},
        "neuralbench.utils": {"detect_batch_dim": None, "run_probe_hook": None},
    }
    module = load_module("neuralbench", "neuralbench/modules.py", "neuralbench.modules", stand_ins)
    said: list[str] = []
    module.LOGGER.setLevel(logging.INFO)
    module.LOGGER.propagate = False
    module.LOGGER.handlers = [handler := logging.Handler()]
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    settings = re.sub(
        r"!include (\S+)", r'"\1"', installed_file("neuralbench", "neuralbench/models/biot.yaml").read_text()
    )
    settings = settings.replace("=replace=", "replace")
    adapter = yaml.safe_load(settings)["downstream_model_wrapper"]["channel_adapter_config"]
    mapping = installed_file("neuralbench", f"neuralbench/models/{adapter['rename_mapping']}")
    adapter["rename_mapping"] = json.loads(mapping.read_text())
    module.ChannelProjection(**adapter).build(len(ch_names), ch_names)
    (line,) = said
    return int(re.search(r"(\d+)/18 fully covered", line)[1])  # type: ignore[index]


def measure() -> dict[str, int]:
    """Count rows of the adapter that a recording's names fill."""
    return {"of 18 rows, from CHB-MIT's names": covered(CHBMIT), "of 18 rows, from 19 electrodes": covered(ELECTRODES)}
