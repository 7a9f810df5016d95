"""Where a step's time goes, by kind of kernel."""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import Any

import torch
from gpu_stages import Bench, Way
from speed import Work

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # else its messages on the way stand among the results

KINDS = {
    "compiled (fused)": r"triton",
    "batch norm": r"batch_norm|bn_|batchnorm",
    "convolutions, gradients of weights": r"wgrad|weights",
    "convolutions, gradients of inputs": r"dgrad|convolution_backward",
    "convolutions, forward": r"fprop|conv|xmma|cutlass|gemm|implicit|mm\b",
    "optimizer and other work on lists": r"multi_tensor|foreach|fused_sgd",
    "casts and copies": r"copy|cast|memcpy|nchwto|nhwcto",
    "fills": r"fill|memset|zero",
    "random numbers": r"distribution|random|philox|uniform|normal",
    "element by element": r"elementwise|vectorized|relu|aten::(add|sub|mul|div|where)",
}


def kernels(bench: Bench, work: Work, way: Way) -> list[str]:
    """Lines with the time of a step by kind of kernel; on a CPU by kind of operation."""
    on_gpu = bench.device.type == "cuda"
    activity = torch.profiler.ProfilerActivity.CUDA if on_gpu else torch.profiler.ProfilerActivity.CPU
    with bench.training(work, way) as epoch:
        epoch(0)
        with torch.profiler.profile(activities=[activity]) as profile:
            epoch(1)
            if on_gpu:
                torch.cuda.synchronize()
    steps = len(bench.data.train) // way.batch
    return lines_of(profile.key_averages(), steps, "self_device_time_total" if on_gpu else "self_cpu_time_total")


def lines_of(events: Any, steps: int, column: str) -> list[str]:
    """One line for each kind, the longest first."""
    micros, counts = Counter[str](), Counter[str]()
    for event in events:
        kind = next((kind for kind, pattern in KINDS.items() if re.search(pattern, event.key, re.IGNORECASE)), "the rest")
        micros[kind] += getattr(event, column)
        counts[kind] += event.count if getattr(event, column) else 0
    total = sum(micros.values()) or 1
    head = f"  {total / steps / 1000:.3f} ms a step in {sum(counts.values()) / steps:.0f} kernels"
    return [head] + [
        f"  {kind:36} {time / steps / 1000:7.3f} ms  {100 * time / total:3.0f} %  {counts[kind] / steps:6.1f} kernels"
        for kind, time in micros.most_common()
        if time
    ]
