#!/usr/bin/env bash
# torch 2.13.0: torch.autocast inside a caller's torch.autocast, around each step of a training.
#
# Behaviour: low-precision copies of weights are cached until the OUTERMOST autocast ends, not until the context that
# made them does. A library that opens its own autocast for each forward pass, as torch's documentation asks, trains on
# the weights of the first step as soon as somebody calls it inside an autocast of theirs: the optimizer moves the
# parameters, the forward pass does not see it. autocast(enabled=False) in between, as a library would write to be
# independent of its caller, changes nothing. No warning. torch.clear_autocast_cache() after each step mends it, and
# so does torch.autocast(..., cache_enabled=False) inside.
#
# What one would guess: leaving a context ends what began in it; autocast(enabled=False) shields from the caller.
#
# Why it matters: the loss of the first epochs looks sound and the parameters do move, so nothing tells that gradients
# are those of old weights; a fit inside a user's autocast ends with other weights than the same fit alone.
#
# Source: seen by running it; torch/amp/autocast_mode.py clears the cache where the nesting becomes 0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
cd "$folder"
cat > run.py <<'PY'
import contextlib
import warnings

import torch

warnings.simplefilter("error")


def losses(caller, shield=contextlib.nullcontext, after=lambda: None, **cache):
    """Train one weight from 0 towards 1; return the losses that the forward passes saw, and the weight."""
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(layer.weight)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.25)
    seen = []
    with caller:
        for _ in range(4):
            with shield(), torch.autocast("cpu", torch.bfloat16, **cache):
                loss = (layer(torch.ones(1, 1)).float() - 1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            after()
            seen.append(round(loss.item(), 3))
    return seen, round(layer.weight.item(), 3)


def callers():
    return torch.autocast("cpu", torch.bfloat16)


def off():
    return torch.autocast("cpu", enabled=False)


print("alone:                              ", *losses(contextlib.nullcontext()))
print("in a caller's autocast:             ", *losses(callers()))
print("behind autocast(enabled=False):     ", *losses(callers(), off))
print("with torch.clear_autocast_cache():  ", *losses(callers(), after=torch.clear_autocast_cache))
print("with cache_enabled=False:           ", *losses(callers(), cache_enabled=False))
PY
"$folder/venv/bin/python" run.py | tee found
diff - found <<'SEEN'
alone:                               [1.0, 0.25, 0.062, 0.016] 0.938
in a caller's autocast:              [1.0, 1.0, 1.0, 1.0] 2.0
behind autocast(enabled=False):      [1.0, 1.0, 1.0, 1.0] 2.0
with torch.clear_autocast_cache():   [1.0, 0.25, 0.062, 0.016] 0.938
with cache_enabled=False:            [1.0, 0.25, 0.062, 0.016] 0.938
SEEN
