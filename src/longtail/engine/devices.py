"""Set-up of the device that trains, and of its precision: those asked for, or the best available."""

from __future__ import annotations

import os
from typing import Any

import torch

from longtail.engine.compute import PRECISIONS, Compute
from longtail.engine.group import own_place
from longtail.errors import UserError
from longtail.results import counted
from longtail.runs.devices import chosen_device
from longtail.text import unknown
from longtail.together import world


def make_compute(
    device: str = "auto", precision: str = "auto", *, deterministic: bool = False, synchronised: bool = True
) -> Compute:
    """Sets up the device and the precision that are asked for, or the best available.

    Args:
        deterministic: use only algorithms that give the same bits each time. On the CPU all algorithms that longtail uses do,
            at one number of threads; on CUDA it costs speed, and an operation without such an algorithm is an error.
        synchronised: whether batch norm normalises over the images of all processes.

    Raises:
        UserError: the device or precision is unknown or not available, or several processes were started; the message says why.
    """
    if world() == 1:
        _refuse_several_processes()
    kind = chosen_device(device)
    if precision == "auto":
        precision = "bf16-mixed" if has_bfloat16(kind) else "32-true"
    if precision not in PRECISIONS:
        raise UserError(unknown("precision", precision, ["auto", *PRECISIONS]))
    _set_deterministic(deterministic)
    place = torch.device(kind, torch.cuda.current_device()) if kind == "cuda" else torch.device(kind)
    return Compute(place, precision, synchronised=synchronised)


def _refuse_several_processes() -> None:
    place = own_place()
    if place is not None:
        raise UserError(
            f"This is one of {place.world} processes, as torchrun or srun starts them, and only `longtail train` and "
            f"longtail.train share a run among processes. Start this command once."
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
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capability = getattr(torch.backends.cpu, "get_cpu_capability", lambda: "")()
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return "AVX512" in capability and bool(check is not None and check())


def device_name(device: Any) -> str:
    """Name of the GPU, or of the CPU's architecture and the number of threads, for reports."""
    import platform

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU {platform.machine()}, {counted(torch.get_num_threads(), 'thread')}"
