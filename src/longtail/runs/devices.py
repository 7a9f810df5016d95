"""Choice of the device that a network trains or predicts on: the one asked for, or the best available."""

from __future__ import annotations

import torch

from longtail.errors import UserError
from longtail.text import unknown


def chosen_device(device: str | torch.device) -> str:
    """Name of the device to use, "cpu" or "cuda"; for "auto" CUDA where it is available.

    Raises:
        UserError: there is no such device, or CUDA is not available; the message says why.
    """
    device = device.type if isinstance(device, torch.device) and not device.index else str(device)
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise UserError(unknown("device", device, ["auto", "cpu", "cuda"]))
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(f"CUDA is not available: {why_no_cuda()} Use the CPU with `device=cpu`.")
    return device


def why_no_cuda() -> str:
    """Sentence that says why torch sees no GPU."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is a build without CUDA; install one with CUDA from pytorch.org."
    driver = _driver_version()
    if driver is None:
        return "no NVIDIA driver was found on this machine (nvidia-smi is missing or fails)."
    needed = 580 if torch.version.cuda.startswith("13") else 525
    if int(driver.split(".")[0]) < needed:
        return f"torch {torch.__version__} (CUDA {torch.version.cuda}) needs driver {needed} or newer; found {driver}."
    return f"the driver ({driver}) is new enough, but torch sees no device; check CUDA_VISIBLE_DEVICES and nvidia-smi."


def _driver_version() -> str | None:
    import subprocess

    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.splitlines()[0].strip() if answer.stdout.strip() else None
