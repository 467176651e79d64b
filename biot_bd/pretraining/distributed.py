"""Several processes that share one fit: ``torchrun``, ``accelerate launch``, SLURM."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import warnings
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from biot_bd.exceptions import MissingExtraError
from biot_bd.pretraining.processes import Processes
from biot_bd.training._validation import launched_processes

SHARDED = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}
"""What accelerate would do instead, by the variable that asks for it."""


class TorchProcesses(Processes):
    """The processes of a launcher; each trains on its part of every batch.

    Parameters
    ----------
    state : accelerate.PartialState
        Knows this process, the others and the device.

    See Also
    --------
    find_processes : Makes it.
    """

    def __init__(self, state: Any) -> None:
        self.state = state
        self.rank, self.n = int(state.process_index), int(state.num_processes)
        self.device = "cpu" if state.device.type == "cpu" else str(state.device)

    def parallel(self, module: nn.Module) -> nn.Module:
        """Return what forward goes through: backward then averages gradients over processes."""
        devices = None if self.state.device.type == "cpu" else [self.state.device]
        with warnings.catch_warnings():  # torch 2.13 has another word for it, which 2.5 does not know
            warnings.simplefilter("ignore", FutureWarning)
            # Buffers are constants (positions): nothing to send before each step.
            parallel: nn.Module = DistributedDataParallel(module, device_ids=devices, broadcast_buffers=False)
        return parallel

    def total(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return sums over processes; a process may lack what it has none of.

        Parameters
        ----------
        sums : dict of str to Tensor
            Of this process.

        Returns
        -------
        dict of str to Tensor
            On the CPU, float64, added in the order of ranks: alike to the last bit in all.
        """
        parts: list[Any] = [None] * self.n
        sent = {key: value.detach().to("cpu", torch.float64) for key, value in sums.items()}
        torch.distributed.all_gather_object(parts, sent)
        total: dict[str, Tensor] = {}
        for part in parts:
            for key, value in part.items():
                total[key] = total[key] + value if key in total else value
        return total

    def agreed(self, value: Any) -> Any:
        """Return the main process's value in all."""
        values = [value]
        torch.distributed.broadcast_object_list(values, src=0)
        return values[0]

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.state.wait_for_everyone()


def find_processes(accelerator: str | None = "auto", device: str | torch.device | None = None) -> Processes:
    """Return the processes that share a fit.

    Parameters
    ----------
    accelerator : {"auto"} or None
        ``"auto"``: all that ``torchrun``, ``accelerate launch`` or submitit started, as the
        environment variable ``WORLD_SIZE`` tells; a worker of joblib (``n_jobs``) is alone. None:
        this one alone, whoever started it.
    device : str or torch.device, optional
        Where the fit is asked to run; ``"cpu"`` keeps the processes off GPUs, else each takes the
        one of its number on its machine.

    Returns
    -------
    Processes

    Raises
    ------
    MissingExtraError
        There are several processes and accelerate is not installed.
    ValueError
        Another value of ``accelerator``; one GPU for all processes; a launcher that splits weights
        over processes (FSDP, DeepSpeed); processes of the launcher that accelerate does not find.

    Examples
    --------
    >>> from biot_bd.pretraining.distributed import find_processes
    >>> processes = find_processes()
    >>> processes.rank, processes.n, processes.is_main
    (0, 1, True)
    """
    if accelerator not in ("auto", None):
        raise ValueError(f"accelerator must be 'auto' or None, found {accelerator!r}")
    if accelerator is None or launched_processes() == 1 or _is_joblibs():
        return Processes()
    for variable, name in SHARDED.items():
        if os.environ.get(variable, "").lower() == "true":
            raise ValueError(
                f"{name} splits a model over processes, and pretraining keeps it whole in each: run accelerate launch "
                "--multi_gpu, or torchrun"
            )
    wanted = str("auto" if device is None else device)
    if ":" in wanted:
        raise ValueError(f"device={wanted!r} would put all processes on one; say 'auto', and each takes one of its own")
    return TorchProcesses(_state(cpu=wanted == "cpu" or not torch.cuda.is_available()))


def _is_joblibs() -> bool:
    """Return whether joblib started this process: a search with ``n_jobs`` fits candidates apart.

    It has the launcher's variables from its parent, and nobody else would come to the meeting.
    """
    return multiprocessing.current_process().name.startswith("LokyProcess")


def _state(cpu: bool) -> Any:
    """Join the other processes, once a process."""
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise MissingExtraError(
            f"this is one of {launched_processes()} processes (WORLD_SIZE), and sharing a fit needs the package accelerate: "
            "pip install 'biot-bd[scale]'; Pretrainer(accelerator=None) would train in each alone"
        ) from error
    joined_here = not torch.distributed.is_initialized()
    # Without cpu=True, accelerate takes processes on a machine without a GPU for single ones.
    state = PartialState(cpu=cpu)
    if state.num_processes != launched_processes():
        raise ValueError(
            f"WORLD_SIZE is {launched_processes()} and accelerate finds {state.num_processes} process(es); make no "
            "Accelerator before the fit, or one with cpu=True where there is no GPU"
        )
    if joined_here:
        atexit.register(state.destroy_process_group)
    return state
