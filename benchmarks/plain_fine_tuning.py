"""Fine-tuning by longtail beside a plain script in PyTorch: the same file, split, size, epochs and threads; recall and images/s.

    python benchmarks/plain_fine_tuning.py FOLDER --weights tf_efficientnet_lite0.safetensors --runs RUNS --epochs 5

The plain script trains as many do: AdamW at 1e-3, half a cosine by steps after 50 steps of warm-up, label smoothing 0.1, batch 64
flips and shifts, float32, no average of the weights, one view. longtail trains `ce` with its own values for fine-tuning, with
the same flips (`--symmetry mirror`) and one view. "adjusted" is post hoc logit adjustment with tau 1.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from safetensors.torch import load_file
from torchvision.transforms import v2

import longtail
from longtail.metrics import mean_recall
from longtail.runs.serving import load

BATCH, WARM = 64, 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--size", type=int, default=96)
    asked = parser.parse_args()
    how: dict[str, Any] = {"symmetry": "mirror", "views": 1, "size": asked.size, "epochs": asked.epochs, "runs": asked.runs}
    ours = longtail.train(asked.folder, method="ce", weights=asked.weights, device="cpu", **how)
    adjusted = longtail.train(asked.folder, method="logit_adjusted_post_hoc", weights=asked.weights, device="cpu", **how)
    stage = ours.report.stages[0]
    shown("longtail", ours.report.test.mean_recall, adjusted.report.test.mean_recall, stage.images_per_second, stage.seconds)
    images = read(asked.folder, ours.folder / "split.csv", load(ours.folder, device="cpu").classes, asked.size)
    logits, labels, counts, rate, seconds = plain(images, asked)
    prior = (counts / counts.sum()).log()
    shown("plain", mean_recall(logits, labels), mean_recall(logits - prior, labels), rate, seconds)


def shown(name: str, recall: float, adjusted: float, rate: float | None, seconds: float) -> None:
    print(
        f"{name:9} mean recall {100 * recall:.1f}, adjusted {100 * adjusted:.1f}, {rate:.1f} images/s, {seconds:.0f} s",
        flush=True,
    )


def read(root: Path, split: Path, classes: Any, size: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Images (N, 3, S, S) and labels of each split, resized to squares."""
    images: dict[str, list[Any]] = {"train": [], "test": []}
    with split.open(newline="") as file:
        for row in csv.DictReader(file):
            with Image.open(root / row["path"]) as image:
                square = np.array(image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC))
            images[row["split"]].append((torch.from_numpy(square).permute(2, 0, 1), classes.index(row["label"])))
    return {name: (torch.stack([p for p, _ in rows]), torch.tensor([y for _, y in rows])) for name, rows in images.items()}


def plain(images: dict[str, tuple[torch.Tensor, torch.Tensor]], asked: Any) -> tuple[Any, ...]:
    """Trains; returns the test logits, their labels, the training images per class, images/s and seconds."""
    torch.manual_seed(0)
    (pixels, labels), (test, test_labels) = images["train"], images["test"]
    counts = torch.bincount(labels).float()
    net = timm.create_model(asked.weights.stem, num_classes=len(counts))
    stored = load_file(asked.weights)
    net.load_state_dict({n: t for n, t in stored.items() if not n.startswith(net.default_cfg["classifier"])}, strict=False)
    net = net.to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(net.default_cfg[name])[:, None, None] for name in ("mean", "std"))
    augment = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomCrop(asked.size, padding=asked.size // 8)])
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    steps = asked.epochs * (len(pixels) // BATCH)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / WARM, 1) * 0.5 * (1 + math.cos(math.pi * min(s / steps, 1)))
    )
    began = time.perf_counter()
    net.train()
    for _ in range(asked.epochs):
        for chosen in torch.randperm(len(pixels))[: len(pixels) // BATCH * BATCH].split(BATCH):
            batch = torch.stack([augment(pixels[i]) for i in chosen]).float() / 255
            batch = ((batch - mean) / std).contiguous(memory_format=torch.channels_last)
            F.cross_entropy(net(batch), labels[chosen], label_smoothing=0.1).backward()
            optimizer.step()
            optimizer.zero_grad()
            rate.step()
    seconds = time.perf_counter() - began
    net.eval()
    with torch.inference_mode():
        logits = torch.cat([net((part.float() / 255 - mean) / std) for part in test.split(256)])
    return logits, test_labels, counts, asked.epochs * len(pixels) / seconds, seconds


if __name__ == "__main__":
    main()
