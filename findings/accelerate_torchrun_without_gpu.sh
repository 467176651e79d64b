#!/usr/bin/env bash
# accelerate 1.15.0 with torch 2.13.0: a program that `torchrun` starts n times on a machine without a GPU.
#
# Behaviour: `Accelerator()` says in every one of the n processes that it is number 0 of 1 (DistributedType.NO, main
# process), and `prepare` wraps the model in nothing. Nothing warns. `Accelerator(cpu=True)` in the same program finds
# the n processes (gloo). The environment that `torchrun` made (RANK, WORLD_SIZE, LOCAL_RANK) is there in both cases.
#
# What one would guess: accelerate reads what `torchrun` says, as its documentation has it start programs; without a
# GPU it takes the CPU, as it does with one process, and gloo with it.
#
# Why it matters: each process trains a model of its own on all the data, n times as long for nothing, and all of them
# take themselves for the one that writes files: checkpoints and logs of n trainings go to one place. It looks like a
# slow distributed training. Who asks `Accelerator` for the number of processes learns nothing of it; compare with
# WORLD_SIZE.
#
# Source: seen by running it; accelerate/state.py, `_prepare_backend`, which looks for a backend only where an
# accelerator is there or `cpu` was asked for (by the argument, or by ACCELERATE_USE_CPU, which `accelerate launch --cpu` sets).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet accelerate==1.15.0 torch==2.13.0 numpy==2.4.6 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
cd "$folder"
cat > run.py <<'PY'
import os, sys
from accelerate import Accelerator
from torch import nn

accelerator = Accelerator(cpu=True) if "cpu" in sys.argv else Accelerator()
model = accelerator.prepare(nn.Linear(2, 2))
line = (f"{sys.argv[1]}: torchrun says {os.environ['RANK']} of {os.environ['WORLD_SIZE']}, accelerate "
        f"{accelerator.process_index} of {accelerator.num_processes}, {accelerator.distributed_type}, "
        f"main {accelerator.is_main_process}, {type(model).__name__}\n")
os.write(1, line.encode())
if accelerator.num_processes > 1:
    accelerator.end_training()
PY
for how in plain cpu; do
    CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 "$folder/venv/bin/torchrun" --standalone --nproc-per-node 2 run.py $how 2>>log | sort
done | tee found
diff - found <<'SEEN'
plain: torchrun says 0 of 2, accelerate 0 of 1, DistributedType.NO, main True, Linear
plain: torchrun says 1 of 2, accelerate 0 of 1, DistributedType.NO, main True, Linear
cpu: torchrun says 0 of 2, accelerate 0 of 2, DistributedType.MULTI_CPU, main True, DistributedDataParallel
cpu: torchrun says 1 of 2, accelerate 1 of 2, DistributedType.MULTI_CPU, main False, DistributedDataParallel
SEEN
