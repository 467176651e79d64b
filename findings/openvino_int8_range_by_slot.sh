#!/usr/bin/env bash
# OpenVINO 2026.4.1 on a CPU: ReduceMean over the middle axis of (batch, tokens, features), then FakeQuantize with one
# range for each feature (a graph of two operations, in float32).
#
# Behaviour: the window in slot s of the batch is rounded with the range of feature s, for all its features. The same
# window gives another result in every slot; a lone window always gets the range of feature 0. Nothing warns.
#
# What one would guess: an operation broadcasts the same way whatever stands before it, and a compiler that fuses two
# operations keeps their numbers; the result of one window does not depend on its place in the batch.
#
# Why it matters: quantisers that move ranges between channels (SmoothQuant in nncf, on by default) make this pattern
# behind a mean over tokens, as in BIOT and other transformers that pool. Scores of a detector then depend on who
# shares the batch; accuracy on a whole set may hide it, and at batch 1 there is nothing to see.
#
# Source: seen by running it, after an int8 model of nncf 3.4.0 gave one window .828 to .849 by slot (.909 in float).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openvino==2026.4.1 numpy==2.4.6 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
cd "$folder"
cat > run.py <<'PY'
import sys

sys.modules["openvino_telemetry"] = None  # no message to anybody
import numpy as np
import openvino as ov
from openvino import opset13 as op

slots, tokens, features = 4, 3, 8
ranges = np.linspace(0.5, 4, features, dtype=np.float32)
window = np.random.default_rng(0).normal(0, 3, (tokens, features)).astype(np.float32)
x = np.repeat(window[None], slots, axis=0)
mean = window.mean(axis=0)


def rounded(values, high):
    return np.round(np.clip(values, -high, high) / high * 127) / 127 * high


def run(*, with_mean):
    given = op.parameter([-1, tokens, features] if with_mean else [-1, features], np.float32)
    pooled = op.reduce_mean(given, op.constant(np.array([1])), False) if with_mean else op.relu(given)
    high = ranges[None]
    ends = [op.constant(side) for side in (-high, high, -high, high)]
    graph = ov.Model([op.result(op.fake_quantize(pooled, *ends, 255))], [given])
    compiled = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(x if with_mean else np.repeat(np.abs(mean)[None], slots, axis=0))[0]


def off(a, b):
    return f"{np.abs(a - b).max():.3f}"


out = run(with_mean=True)
print("without the mean, off by:", [off(row, rounded(np.abs(mean), ranges)) for row in run(with_mean=False)])
print("behind the mean, off by:", [off(row, rounded(mean, ranges)) for row in out])
print("from rounding all features by the range of feature = slot:", [off(row, rounded(mean, ranges[s])) for s, row in enumerate(out)])
PY
"$folder/venv/bin/python" run.py | tee found
diff - found <<'SEEN'
without the mean, off by: ['0.000', '0.000', '0.000', '0.000']
behind the mean, off by: ['2.000', '1.500', '1.000', '0.717']
from rounding all features by the range of feature = slot: ['0.000', '0.000', '0.000', '0.000']
SEEN
