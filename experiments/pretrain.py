r"""Pretraining on one processor, several, several GPUs or a SLURM cluster, with the options of
``biot-bd pretrain``.

    python experiments/pretrain.py STORE -o RUN --objective masked-spectrum
    torchrun --nproc-per-node 2 experiments/pretrain.py STORE -o RUN --objective masked-spectrum
    accelerate launch --multi_gpu --num_processes 4 experiments/pretrain.py STORE -o RUN
    python experiments/pretrain.py --cluster slurm --nodes 2 --processes 4 --gpus 4 --hours 12 \
        --slurm partition=gpu --slurm constraint=a100 STORE -o RUN

The batch size is that of all processes together, so each of these trains the same model (to
rounding).  The same command again goes on after the last epoch that was finished: so do jobs that
the cluster preempts or stops at their time limit, by themselves.  ``--cluster local`` runs the
processes on this machine as a cluster would.  Several processes need
``pip install "biot-bd[scale]"``.
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse(args: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Return the options of this script, and those of ``biot-bd pretrain``."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0],
        allow_abbrev=False,
        epilog="All other options go to biot-bd pretrain (see biot-bd pretrain --help).",
    )
    parser.add_argument("--cluster", choices=["slurm", "local"], help="submit a job (default: train here and now)")
    parser.add_argument("--nodes", type=int, default=1, help="machines of a job (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="processes a machine (default: %(default)s)")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs a machine, one a process (default: %(default)s)")
    parser.add_argument("--cpus", type=int, default=2, help="processors a process (default: %(default)s)")
    parser.add_argument("--hours", type=float, default=24, help="time limit of a job (default: %(default)s)")
    parser.add_argument(
        "--requeue", type=int, default=10, help="times a job may run out of time (default: %(default)s)"
    )
    parser.add_argument("--logs", type=Path, default=Path("slurm"), help="folder of jobs (default: %(default)s)")
    parser.add_argument("--slurm", action="append", default=[], metavar="KEY=VALUE", help="another option of sbatch")
    options, command = parser.parse_known_args(args)
    for entry in options.slurm:
        if "=" not in entry:
            parser.error(f"--slurm: expected KEY=VALUE, found {entry!r}")
    if options.gpus not in (0, options.processes):
        parser.error(f"--gpus {options.gpus} does not match --processes {options.processes}: a process takes one GPU")
    if options.cluster is None and options.processes * options.nodes > 1:
        parser.error(
            "several processes here: torchrun --nproc-per-node N experiments/pretrain.py ...; or name a --cluster"
        )
    return options, command


def pretrain(command: list[str]) -> int:
    """Run ``biot-bd pretrain`` in this process; a launcher's processes find each other."""
    (biot_bd,) = entry_points(group="console_scripts", name="biot-bd")
    status: int = biot_bd.load()(["pretrain", *command])
    return status


def process_of_job(command: list[str]) -> int:
    """Be one process of a job: tell the others apart as torchrun does, and train."""
    from submitit.helpers import TorchDistributedEnvironment

    TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
    if status := pretrain(command):
        raise SystemExit(status)  # not a result: a job that is requeued ends like this, too
    return status


def again(command: list[str]) -> Any:
    """Return what a job that was stopped is to do: the same, which goes on at its last epoch."""
    from submitit.helpers import DelayedSubmission

    return DelayedSubmission(process_of_job, command)


process_of_job.checkpoint = again  # type: ignore[attr-defined]  # submitit asks for it


def submit(options: argparse.Namespace, command: list[str]) -> Any:
    """Submit a job; one process of it a GPU, or ``--processes`` a machine."""
    import submitit

    executor = submitit.AutoExecutor(options.logs, cluster=options.cluster, slurm_max_num_timeout=options.requeue)
    executor.update_parameters(
        name="biot-bd-pretrain",
        nodes=options.nodes,
        tasks_per_node=options.processes,
        gpus_per_node=options.gpus,
        cpus_per_task=options.cpus,
        timeout_min=max(1, round(options.hours * 60)),
        slurm_additional_parameters=dict(entry.split("=", 1) for entry in options.slurm),
    )
    return executor.submit(process_of_job, command)


def main(args: Sequence[str] | None = None) -> int:
    """Train here, or submit a job and say where its logs are."""
    options, command = parse(args)
    if options.cluster is None:
        return pretrain(command)
    job = submit(options, command)
    print(f"job {job.job_id}: {job.paths.stdout}", flush=True)
    if options.cluster == "slurm":
        return 0
    try:
        job.results()
    except RuntimeError as error:  # what submitit raises names the job and shows its log
        print(f"pretrain: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
