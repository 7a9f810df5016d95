"""Chooses the precision of training where the user leaves it open: by timing a few steps of the network, once per setting."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn

from longtail.data.splits import Data
from longtail.engine.devices import has_bfloat16
from longtail.runs.devices import chosen_device
from longtail.runs.settled import settled
from longtail.spec.cost import with_random_weights
from longtail.spec.description import digest
from longtail.spec.recipe import Setting
from longtail.workflow.request import Request
from longtail.workflow.watcher import Watcher

SINGLE, HALF = "32-true", "bf16-mixed"
STEPS = 3
BATCH = 16
ENOUGH = 0.5  # seconds of steps after which the fastest of them are known to a few per cent
CLEARLY = 1.1  # bfloat16 is left only where float32 is faster by more than a tenth


def settled_precision(request: Request, setting: Setting, data: Data, watcher: Watcher) -> str:
    """The precision that was asked for; for "auto", bfloat16 where the processor has it and the network is not slower in it.

    On a CPU that has bfloat16 a few steps are timed in both; what was found is stored with the runs of the setting, so that a run
    that is continued has the same precision.
    """
    device = chosen_device(request.device)
    if request.precision != "auto":
        return request.precision
    if device != "cpu":
        return HALF if has_bfloat16(device) else SINGLE
    key = digest("precision", setting.backbone, data.size)
    return settled(request.runs, setting.name, key, (SINGLE, HALF), lambda: _faster(setting, data.size, watcher))


def _faster(setting: Setting, size: int, watcher: Watcher) -> str:
    if not has_bfloat16("cpu"):
        return SINGLE
    try:
        seconds = seconds_of_a_step(setting.backbone, size)
    except Exception:  # a network that cannot have these images; training says why
        return HALF
    times = seconds[HALF] / seconds[SINGLE]
    chosen, words = (HALF, "bfloat16, which") if times <= CLEARLY else (SINGLE, "float32, since bfloat16")
    watcher.note(f"Computing in {words} takes {times:.1f} times as long{' as float32' * (chosen == HALF)} (`precision`).")
    return chosen


def seconds_of_a_step(backbone: Callable[..., nn.Module], size: int) -> dict[str, float]:
    """Seconds of the fastest of a few training steps in float32 and in bfloat16, on random images of `size` pixels."""
    with torch.random.fork_rng(devices=[]):
        network = with_random_weights(backbone)().to(memory_format=torch.channels_last).train()
        images = torch.randn(BATCH, 3, size, size).to(memory_format=torch.channels_last)
    seconds: dict[str, float] = {SINGLE: float("inf"), HALF: float("inf")}
    start, step = time.perf_counter(), 0
    while step <= STEPS or time.perf_counter() - start < ENOUGH:
        for precision in seconds:
            began = time.perf_counter()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == HALF):
                features = network(images)
            features.float().square().mean().backward()
            if step:  # the first step of each allocates its memory
                seconds[precision] = min(seconds[precision], time.perf_counter() - began)
        step += 1
    return seconds
