"""How the losses' time and memory grow with the number of classes, beside a step of ResNet-50.

python benchmarks/record.py growth python benchmarks/growth.py
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from speed import timed

from longtail.backbones import TimmBackbone
from longtail.devices import make_fabric
from longtail.heads import LinearHead
from longtail.losses import CrossEntropyLoss, GALALoss, GCLLoss

CLASSES = (10, 100, 1000, 8142, 10_000)
FEATURES = 2048


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--device", default="auto")
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--network-batch", type=int, default=8, help="images of the timed ResNet-50 step, scaled to --batch")
    asked = options.parse_args()
    fabric, precision = make_fabric(asked.device)
    network = asked.batch / asked.network_batch * network_seconds(fabric, asked.network_batch)
    print(f"{fabric.device}, {torch.get_num_threads()} threads, {precision}, batch {asked.batch}; milliseconds, median of 7.")
    print(f"ResNet-50 at 224 pixels, forward and backward: {1000 * network:.0f} ({asked.network_batch} images, scaled).")
    columns = f"{'classes':>8} {'head':>8} {'CE':>8} {'GCL':>8} {'GALA':>8}"
    print(f"{columns}   {'of network: GCL':>18} {'GALA':>9}   GALA's state, GCL's noise")
    for classes in CLASSES:
        counts = torch.linspace(1000, 2, classes).long().tolist()
        head = head_seconds(LinearHead(FEATURES, classes), asked.batch, fabric.device)
        seconds = [
            loss_seconds(build(counts), asked.batch, classes, fabric.device) for build in (CrossEntropyLoss, GCLLoss, GALALoss)
        ]
        state = sum(buffer.numel() * buffer.element_size() for buffer in GALALoss(counts).buffers())
        shares = [100 * (one - seconds[0]) / network for one in seconds[1:]]
        print(
            f"{classes:8,} {1000 * head:8.2f} " + " ".join(f"{1000 * one:8.2f}" for one in seconds) + f"   {shares[0]:18.2f} % "
            f"{shares[1]:6.2f} %   {state / 2**10:.0f} KiB, {4 * asked.batch * classes / 2**20:.2f} MiB"
        )


def network_seconds(fabric: Any, batch: int) -> float:
    network = TimmBackbone(name="resnet50").to(fabric.device, memory_format=torch.channels_last)
    images = torch.randn(batch, 3, 224, 224, device=fabric.device).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with fabric.autocast():
            network(images).float().square().mean().backward()

    return median(step, fabric.device, repeats=3)


def head_seconds(head: torch.nn.Module, batch: int, device: torch.device) -> float:
    head, features = head.to(device), torch.randn(batch, FEATURES, device=device, requires_grad=True)
    return median(lambda: head(features).sum().backward(), device)


def loss_seconds(loss: torch.nn.Module, batch: int, classes: int, device: torch.device) -> float:
    loss, labels = loss.to(device), torch.arange(batch, device=device) % classes
    logits = torch.randn(batch, classes, device=device).tanh().requires_grad_()
    return median(lambda: loss(logits, labels).backward(), device)


def median(action: Callable[[], Any], device: torch.device, *, repeats: int = 7) -> float:
    action()
    return statistics.median(timed(action, device) for _ in range(repeats))


if __name__ == "__main__":
    main()
