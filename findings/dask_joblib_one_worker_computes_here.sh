#!/usr/bin/env bash
# joblib 1.6.0 with distributed 2026.8.0: `parallel_config(backend="dask")` and a cluster that has one worker, or one yet.
#
# Behaviour: `Parallel(n_jobs=...)` computes every task in the calling process, one after another, and the worker gets
# nothing, whatever `n_jobs` says. With two workers all tasks are computed by the workers. Nothing warns.
#
# What one would guess: the backend was chosen, so tasks go to its workers, also where there is one.
#
# Why it matters: on a cluster the first worker of many comes up alone (jobs of SLURM start one by one), and the number
# of workers is asked once, when the call begins: the whole computation then runs on the login node, where memory and
# GPU of the worker are not, and workers that come later stay idle. Who needs the workers submits through
# `Client.submit`.
#
# Source: seen by running it; joblib/_dask.py, `effective_n_jobs` (the threads of all workers, `n_jobs` is not looked at),
# joblib/parallel.py, `Parallel.__call__`, which computes here where that number is 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet joblib==1.6.0 distributed==2026.8.0 dask==2026.8.0 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
cd "$folder"
cat > run.py <<'PY'
import os

import joblib
from distributed import Client, LocalCluster


def process(_):
    return os.getpid()


if __name__ == "__main__":
    for n in (1, 2):
        cluster = LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=None)
        with cluster, Client(cluster) as client, joblib.parallel_config("dask", client=client):
            found = set(joblib.Parallel(n_jobs=4)(joblib.delayed(process)(k) for k in range(8)))
        print(f"{n} worker(s): computed in", "the calling process" if found == {os.getpid()} else "the workers")
PY
"$folder/venv/bin/python" run.py 2>log | tee found
diff - found <<'SEEN'
1 worker(s): computed in the calling process
2 worker(s): computed in the workers
SEEN
