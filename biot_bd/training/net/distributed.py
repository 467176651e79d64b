"""Several processes that share one fit: ``torchrun``, ``accelerate launch``, SLURM."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from biot_bd.exceptions import MissingExtraError
from biot_bd.training._validation import launched_processes
from biot_bd.training.net.processes import Processes

SHARDED = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}
"""What accelerate would do instead, by the variable that asks for it."""
WORKERS = ("LokyProcess", "Dask Worker", "ForkPoolWorker", "SpawnPoolWorker", "ForkServerPoolWorker")
"""How the names of processes begin that joblib's backends start: loky, dask, multiprocessing."""


class TorchProcesses(Processes):
    """The processes of a launcher; each trains on its part of every batch.

    Parameters
    ----------
    state : accelerate.PartialState or accelerate.Accelerator
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
        sent = {key: value.detach().to("cpu", torch.float64) for key, value in sums.items()}
        total: dict[str, Tensor] = {}
        for part in self.gathered(sent):
            for key, value in part.items():
                total[key] = total[key] + value if key in total else value
        return total

    def agreed(self, value: Any) -> Any:
        """Return the main process's value in all."""
        values = [value]
        torch.distributed.broadcast_object_list(values, src=0)
        return values[0]

    def gathered(self, value: Any) -> list[Any]:
        """Return the values of all processes, by rank."""
        values: list[Any] = [None] * self.n
        torch.distributed.all_gather_object(values, value)
        return values

    def joined(self, x: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return the rows of all processes in the order of ranks, without gradient.

        Parameters
        ----------
        x : Tensor, shape (lengths[rank], ...)
            Rows of this process; they go to the processes' device.
        lengths : sequence of int
            Rows of each process.

        Raises
        ------
        RuntimeError
            This process has other rows than that.
        """
        if len(x) != lengths[self.rank]:
            raise RuntimeError(f"process {self.rank} has {len(x)} rows, expected {lengths[self.rank]}")
        own = x.detach().to(self.state.device)
        # Collectives want equal shapes.
        padded = F.pad(own, [0, 0] * (own.ndim - 1) + [0, max(lengths) - len(own)]).contiguous()
        parts = [torch.empty_like(padded) for _ in lengths]
        torch.distributed.all_gather(parts, padded)
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    def share_weights(self, module: nn.Module) -> None:
        """Give the module of every process the weights and buffers of the main one."""
        with torch.no_grad():
            for tensor in (*module.parameters(), *module.buffers()):
                shared = tensor.detach().to(self.state.device).contiguous()
                torch.distributed.broadcast(shared, src=0)
                tensor.copy_(shared)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Make each gradient the sum over processes; what none has a gradient of has none after.

        One sum of all gradients at once, after the backward pass: parts may be frozen, thaw, or
        pass through the module several times, which ``DistributedDataParallel`` would have to be
        told.
        """
        own = list(parameters)
        counts = torch.tensor([float(p.grad is not None) for p in own], device=self.state.device)
        torch.distributed.all_reduce(counts)
        used = [p for p, count in zip(own, counts.tolist(), strict=True) if count]
        if not used:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in used]
        total = torch.cat([gradient.reshape(-1) for gradient in gradients])
        torch.distributed.all_reduce(total)
        for p, part in zip(used, total.split([p.numel() for p in used]), strict=True):
            p.grad = part.view_as(p).to(p.dtype)

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.state.wait_for_everyone()


def find_processes(accelerator: Any = "auto", device: str | torch.device | None = None) -> Processes:
    """Return the processes that share a fit.

    Parameters
    ----------
    accelerator : {"auto"}, None or accelerate.Accelerator
        ``"auto"``: all that ``torchrun``, ``accelerate launch`` or submitit started, as the
        environment variable ``WORLD_SIZE`` tells; a worker of joblib (``n_jobs``) is alone. None:
        this one alone, whoever started it.  An ``Accelerator``: those that it knows.
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
        over processes (FSDP, DeepSpeed); processes of the launcher that accelerate does not find;
        an ``Accelerator`` that accumulates gradients.

    Examples
    --------
    >>> from biot_bd.training.net.distributed import find_processes
    >>> processes = find_processes()
    >>> processes.rank, processes.n, processes.is_main
    (0, 1, True)
    """
    given = accelerator not in ("auto", None)
    if given and not all(hasattr(accelerator, name) for name in ("process_index", "num_processes", "device")):
        raise ValueError(f"accelerator must be 'auto', None or an accelerate.Accelerator, found {accelerator!r}")
    if accelerator is None or _is_worker():
        return Processes()
    for variable, name in SHARDED.items():
        if os.environ.get(variable, "").lower() == "true":
            raise ValueError(
                f"{name} splits a model over processes, and here it stays whole in each: run accelerate launch "
                "--multi_gpu, or torchrun"
            )
    wanted = str("auto" if device is None else device)
    if given:
        return _of_accelerator(accelerator, wanted)
    if launched_processes() == 1:
        return Processes()
    _check_own_devices(wanted)
    return TorchProcesses(_state(cpu=wanted == "cpu" or not torch.cuda.is_available()))


def processes_of(net: Any) -> Processes:
    """Return the processes that share a fit of a net, as its parameters say."""
    params = net.get_params(deep=False)
    return find_processes(params["accelerator"], params["device"])


def beside_the_main_process(processes: Processes, fit: Callable[[], object]) -> Any:
    """Take part in a training that the main process writes down, and return the record of it.

    Parameters
    ----------
    processes : Processes
        The main one calls ``processes.agreed`` with the record of a training that was finished
        before (None: it begins), and with the new record in the end.
    fit : callable
        Trains together with the others.
    """
    finished = processes.agreed(None)
    if finished is not None:
        return finished
    fit()
    return processes.agreed(None)


def _is_worker() -> bool:
    """Return whether joblib started this process: folds or candidates are fitted apart there.

    It has the launcher's variables from its parent, and nobody else would come to the meeting.
    """
    return multiprocessing.current_process().name.startswith(WORKERS)


def _check_own_devices(wanted: str) -> None:
    if ":" in wanted:
        raise ValueError(f"device={wanted!r} would put all processes on one; say 'auto', and each takes one of its own")


def _of_accelerator(accelerator: Any, wanted: str) -> Processes:
    """Return the processes that an ``Accelerator`` knows."""
    steps = getattr(accelerator, "gradient_accumulation_steps", 1)
    if steps != 1:
        raise ValueError(
            f"Accelerator(gradient_accumulation_steps={steps}): batch_size is that of a step, whatever the memory; say "
            "batch_size= for the step and micro_batch= for what passes through the module at a time"
        )
    kind = str(getattr(accelerator, "distributed_type", "NO")).rpartition(".")[2]
    if kind not in ("NO", "MULTI_CPU", "MULTI_GPU"):
        raise ValueError(
            f"an Accelerator of the type {kind} is not known here; take one of several GPUs or CPUs, each with the whole model"
        )
    if accelerator.num_processes != launched_processes():
        raise ValueError(_other_number(accelerator.num_processes))
    if accelerator.num_processes == 1:
        return Processes()
    _check_own_devices(wanted)
    if wanted == "cpu" and accelerator.device.type != "cpu":
        raise ValueError(f"device='cpu', but the Accelerator is on {accelerator.device}; say Accelerator(cpu=True)")
    return TorchProcesses(accelerator)


def _other_number(found: int) -> str:
    return (
        f"WORLD_SIZE is {launched_processes()} and accelerate finds {found} process(es); make no "
        "Accelerator before the fit, or one with cpu=True where there is no GPU"
    )


def _state(cpu: bool) -> Any:
    """Join the other processes, once a process."""
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise MissingExtraError(
            f"this is one of {launched_processes()} processes (WORLD_SIZE), and sharing a fit needs the package accelerate: "
            "pip install 'biot-bd[scale]'; accelerator=None would train in each alone"
        ) from error
    joined_here = not torch.distributed.is_initialized()
    # Without cpu=True, accelerate takes processes on a machine without a GPU for single ones.
    state = PartialState(cpu=cpu)
    if state.num_processes != launched_processes():
        raise ValueError(_other_number(state.num_processes))
    if joined_here:
        atexit.register(state.destroy_process_group)
    return state
