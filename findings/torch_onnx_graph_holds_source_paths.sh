#!/usr/bin/env bash
# torch 2.13.0 with onnx 1.23.2 and onnxscript 0.7.2: what `torch.onnx.export(dynamo=True)` writes into a model beside it.
#
# Behaviour: every node of the graph has metadata `pkg.torch.onnx.stack_trace`: the stack of the Python code that it came
# from, with the absolute path of each source file and the text of each line. `verbose=False` changes nothing, no option
# leaves it out, and nothing warns. `torch.export.save` does the same.
#
# What one would guess: an exported graph holds operators, weights and the names of inputs and outputs.
#
# Why it matters: a model that is given to others, or pushed to a hub, tells the user's name (/home/NAME/...), where
# they work, and lines of code that may not be theirs to publish; a text search of the JSON files beside it finds nothing.
# In a small transformer it was a twelfth of the file. Remedy: `node.meta.pop("stack_trace", None)` for the nodes of the
# ExportedProgram before it goes to `torch.onnx.export`; the graph is the same.
#
# Source: seen by running it; torch/onnx/_internal/exporter/_core.py, `_set_node_metadata`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 onnx==1.23.2 onnxscript==0.7.2 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
mkdir -p "$folder/home/anna/secret-project"
cat > "$folder/home/anna/secret-project/network.py" <<'PY'
from torch import nn


class Network(nn.Module):
    def forward(self, x):
        return (x * 2).relu()
PY
cat > "$folder/run.py" <<'PY'
import sys

import torch
from network import Network

program = torch.export.export(Network(), (torch.ones(2, 3),))
if sys.argv[1] == "without":
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
torch.onnx.export(program, f="model.onnx", dynamo=True, verbose=False)
torch.export.save(program, "model.pt2")
for name in ("model.onnx", "model.pt2"):
    found = open(name, "rb").read()
    print(sys.argv[1], name, *(text.decode() in str(found) for text in (b"/home/anna/secret-project", b"(x * 2).relu()")))
PY
cd "$folder"
for how in as-it-is without; do
    PYTHONPATH="$folder/home/anna/secret-project" OMP_NUM_THREADS=1 "$folder/venv/bin/python" -W ignore run.py $how 2>>log | grep model
done | tee found
diff - found <<'SEEN'
as-it-is model.onnx True True
as-it-is model.pt2 True True
without model.onnx False False
without model.pt2 False False
SEEN
