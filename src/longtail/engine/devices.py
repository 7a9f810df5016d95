"""Set-up of the device that trains, and of its precision: those asked for, or the best available."""

from __future__ import annotations

import logging
import os
import warnings
from typing import TYPE_CHECKING, Any

import torch

from longtail.errors import UserError
from longtail.runs.devices import chosen_device
from longtail.spec.description import unknown

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def make_fabric(device: str = "auto", precision: str = "auto", *, deterministic: bool = False) -> tuple[Fabric, str]:
    """Builds a Fabric on one device, and returns it with the precision that was chosen for it.

    Args:
        deterministic: use only algorithms that give the same bits each time. On the CPU all algorithms that longtail uses do,
            at one number of threads; on CUDA it costs speed, and an operation without such an algorithm is an error.

    Raises:
        UserError: the device or precision is unknown or not available, or several processes were started; the message says why.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment

    _refuse_several_processes()
    kind = chosen_device(device)
    if precision == "auto":
        precision = "bf16-mixed" if has_bfloat16(kind) else "32-true"
    if precision not in PRECISIONS:
        raise UserError(unknown("precision", precision, ["auto", *PRECISIONS]))
    _set_deterministic(deterministic)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = LightningEnvironment()  # whatever number of tasks SLURM's variables speak of
        return Fabric(accelerator=kind, devices=1, precision=precision, plugins=[alone]), precision


def _refuse_several_processes() -> None:
    processes = os.environ.get("WORLD_SIZE", "1")
    if processes.isdecimal() and int(processes) > 1 and "RANK" in os.environ:
        raise UserError(
            f"This is one of {processes} processes (WORLD_SIZE, as torchrun sets it), and a run is trained by one process alone. "
            f"Start longtail once, without torchrun; several seeds are trained at once with `jobs`."
        )


def deterministic() -> bool:
    """Whether torch now uses only algorithms that give the same bits each time."""
    return torch.are_deterministic_algorithms_enabled()


def _set_deterministic(wanted: bool) -> None:
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.benchmark = not wanted


def has_bfloat16(device: str) -> bool:
    """Whether the device multiplies matrices in bfloat16 natively."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    capability = getattr(torch.backends.cpu, "get_cpu_capability", lambda: "")()
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return "AVX512" in capability and bool(check is not None and check())


def device_name(device: Any) -> str:
    """Name of the GPU, or of the CPU's architecture and the number of threads, for reports."""
    import platform

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"
