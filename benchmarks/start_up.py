"""Start-up: ``import biot_bd``, ``biot-bd --help`` and ``biot-bd plugins`` against a bare interpreter and braindecode."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from _bench import arguments, interleave, publish, summarise


def main() -> None:
    options = arguments(__doc__ or "")
    command = str(Path(sys.executable).parent / "biot-bd")

    def run(*words: str) -> None:
        subprocess.run(words, check=True, capture_output=True)

    guarded = "import biot_bd, braindecode"
    times = interleave(
        {
            "python -c pass": lambda: run(sys.executable, "-c", "pass"),
            "import biot_bd": lambda: run(sys.executable, "-c", "import biot_bd"),
            "biot-bd --help": lambda: run(command, "--help"),
            "biot-bd plugins": lambda: run(command, "plugins"),
            "import braindecode": lambda: run(sys.executable, "-c", guarded),
        },
        options.rounds,
    )
    publish(
        "start_up", "Start-up, warm page cache, seconds", summarise(times, ["import braindecode"]), [], options.quick
    )


if __name__ == "__main__":
    main()
