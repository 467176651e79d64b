#!/usr/bin/env bash
# OpenVINO 2026.4.1 with its dependency openvino-telemetry 2025.2.0; nncf 3.4.0 uses the same package.
#
# Behaviour: `import openvino`, the inference runtime, already makes an identity for the user below the home folder and
# sends an event to an analytics server (from a child process, with a time limit of 3 s), unless the user opted out
# before in a file of the home folder. Without that file silence counts as consent, and no dialog is shown. No variable
# of the environment is meant to switch it off; those that mark a CI job do.
#
# What one would guess: converters with a command line may ask for consent at their first use; importing a library to
# run a model on a device sends nothing, or asks.
#
# Why it matters: a detector in a hospital must not call a server outside, and its account may have no home folder to
# opt out in. A module of that name that cannot be imported is enough: both packages bring a silent replacement.
#
# Source: seen by running it; openvino_telemetry/main.py says that without a dialog it sends unless turned off.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openvino==2026.4.1 openvino-telemetry==2025.2.0 numpy==2.4.6 2>"$folder/pip" ||
  { cat "$folder/pip"; exit 1; }
cd "$folder"
cat > run.py <<'PY'
import json
import os
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

home, way = Path(os.environ["HOME"]), sys.argv[1]
sent = home / "sent"


def kept(request, *args, **kwargs):  # in the place of the network: nothing leaves this machine
    events = [event["name"] for event in json.loads(request.data)["events"]]
    with sent.open("a") as out:
        out.write(f"{urlsplit(request.full_url).hostname} {events}\n")


urllib.request.urlopen = kept
if way == "with the name blocked":
    sys.modules["openvino_telemetry"] = None
import openvino

end = time.monotonic() + 20
while way == "as installed" and not sent.exists() and time.monotonic() < end:
    time.sleep(0.05)
made = sorted(path.relative_to(home).as_posix() for path in (home / "intel").glob("*")) if (home / "intel").exists() else []
print(f"{way}: runs {openvino.get_version().split('-')[0]}; below the home folder: {made}; sent:",
      sorted(set(sent.read_text().split("\n")) - {""}) if sent.exists() else [])
PY
for way in "as installed" "with the name blocked"; do
  mkdir "$folder/home"
  env -u CI -u TF_BUILD -u JENKINS_URL HOME="$folder/home" "$folder/venv/bin/python" run.py "$way" | tee -a found
  rm -rf "$folder/home"
done
diff - found <<'SEEN'
as installed: runs 2026.4.1; below the home folder: ['intel/openvino_ga_cid', 'intel/stats']; sent: ["www.google-analytics.com ['import']"]
with the name blocked: runs 2026.4.1; below the home folder: []; sent: []
SEEN
