"""How time and memory grow: the losses with the classes, beside a step of ResNet-50; an epoch's order with images and processes.

python benchmarks/record.py growth python benchmarks/growth.py
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from speed import timed

from longtail import weighting
from longtail.engine.devices import make_compute
from longtail.heads import LinearHead
from longtail.losses import CrossEntropyLoss, GALALoss, GCLLoss
from longtail.networks.timm_backbone import TimmBackbone
from longtail.sampling import EpochSampler

CLASSES = (10, 100, 1000, 8142, 10_000)
IMAGES = (10_000, 100_000, 1_000_000)
PROCESSES = (1, 8)
FEATURES = 2048


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--device", default="auto")
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--network-batch", type=int, default=8, help="images of the timed ResNet-50 step, scaled to --batch")
    asked = options.parse_args()
    compute = make_compute(asked.device)
    network = asked.batch / asked.network_batch * network_seconds(compute, asked.network_batch)
    print(f"{compute.device}, {torch.get_num_threads()} threads, {compute.precision}, batch {asked.batch}; ms, median of 7.")
    print(f"ResNet-50 at 224 pixels, forward and backward: {1000 * network:.0f} ({asked.network_batch} images, scaled).")
    columns = f"{'classes':>8} {'head':>8} {'CE':>8} {'GCL':>8} {'GALA':>8}"
    print(f"{columns}   {'of network: GCL':>18} {'GALA':>9}   GALA's state, GCL's noise")
    for classes in CLASSES:
        counts = torch.linspace(1000, 2, classes).long().tolist()
        head = head_seconds(LinearHead(FEATURES, classes), asked.batch, compute.device)
        seconds = [
            loss_seconds(build(counts), asked.batch, classes, compute.device) for build in (CrossEntropyLoss, GCLLoss, GALALoss)
        ]
        state = sum(buffer.numel() * buffer.element_size() for buffer in GALALoss(counts).buffers())
        shares = [100 * (one - seconds[0]) / network for one in seconds[1:]]
        print(
            f"{classes:8,} {1000 * head:8.2f} " + " ".join(f"{1000 * one:8.2f}" for one in seconds) + f"   {shares[0]:18.2f} % "
            f"{shares[1]:6.2f} %   {state / 2**10:.0f} KiB, {4 * asked.batch * classes / 2**20:.2f} MiB"
        )
    orders()


def orders() -> None:
    """Drawing the order of one epoch, once per epoch in each process, and what a set of images holds in memory."""
    print(f"\nOrder of one epoch, milliseconds in each of {PROCESSES[0]} and {PROCESSES[-1]} processes; 1,000 classes.")
    print(f"{'images':>9}   {'uniform':>15}   {'class-balanced':>15}   {'pixels at 32':>12} {'order':>9}")
    for images in IMAGES:
        labels = (999 * torch.linspace(0, 1, images) ** 3).long()  # a tenth of them in one class
        cells = [
            " ".join(f"{1000 * order_seconds(labels, rule, world):7.1f}" for world in PROCESSES)
            for rule in (weighting.uniform, weighting.power)
        ]
        print(f"{images:9,}   {cells[0]:>15}   {cells[1]:>15}   {images * 3072 / 2**20:8.0f} MiB {images * 8 / 2**20:5.1f} MiB")


def order_seconds(labels: torch.Tensor, rule: weighting.Rule, world: int) -> float:
    sampler = EpochSampler(labels, rule=rule, rank=0, world=world)
    return median(sampler.indices, torch.device("cpu"))


def network_seconds(compute: Any, batch: int) -> float:
    network = TimmBackbone(name="resnet50").to(compute.device, memory_format=torch.channels_last)
    images = torch.randn(batch, 3, 224, 224, device=compute.device).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with compute.autocast():
            network(images).float().square().mean().backward()

    return median(step, compute.device, repeats=3)


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
