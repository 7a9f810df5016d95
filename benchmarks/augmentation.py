"""Time of an augmentation that draws operations for every image: the batched AutoAugment against torchvision's transforms.

python benchmarks/augmentation.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor
from torchvision.transforms import v2

from longtail.data.autoaugment import auto_augment

REPEATS = 7
SIZES = ((32, 128), (64, 128), (224, 64))


def milliseconds(augment: Callable[[Tensor], Tensor], images: Tensor) -> float:
    """Median time of one batch, after one that is not timed."""
    augment(images)
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        augment(images)
        taken.append(1000 * (time.perf_counter() - began))
    return median(taken)


def main() -> None:
    """Prints one line per image size."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    trivial, policies = v2.TrivialAugmentWide(), v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "longtail auto_augment": auto_augment,
        "TrivialAugmentWide image by image": lambda images: torch.stack([trivial(image) for image in images]),
        "AutoAugment image by image": lambda images: torch.stack([policies(image) for image in images]),
        "TrivialAugmentWide, one operation per batch": trivial,
    }
    for side, batch in SIZES:
        coarse = 255 * torch.rand(batch, 3, 8, 8)
        images = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear").to(torch.uint8)
        times = "; ".join(f"{name} {milliseconds(augment, images):.1f} ms" for name, augment in ways.items())
        print(f"{batch} images of {side} pixels, median of {REPEATS}: {times}")


if __name__ == "__main__":
    main()
