"""Images per second of loading alone, of the network alone and of both, beside torchvision's reference pipeline, by turns.

python benchmarks/record.py loading python benchmarks/loading.py --root IMAGES
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import numpy as np
import timm
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from longtail.data.crops import Crops
from longtail.data.loaders import Feed
from longtail.data.splits import Data, Split
from longtail.data.transforms import random_flip
from longtail.memory import keep_freed_memory

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE = 224
Batches = Iterable[tuple[Tensor, Tensor]]
Turn = Callable[[], "Measured"]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--root", type=Path, required=True, help="folder whose images are enlarged to 500 x 375 pixels")
    options.add_argument("--device", default="cpu")
    options.add_argument("--network", default="mobilenetv3_small_050")
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--images", type=int, default=512, help="images of an epoch")
    options.add_argument("--steps", type=int, default=8, help="batches of a measurement with the network")
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--threads", type=int, default=1, help="threads of the network")
    options.add_argument("--rounds", type=int, default=5)
    asked = options.parse_args()
    torch.set_num_threads(asked.threads)
    keep_freed_memory()  # as training does
    with tempfile.TemporaryDirectory() as place:
        photos(Path(place), asked.root, asked.images)
        compare(Path(place), asked)


def photos(root: Path, source: Path, count: int) -> None:
    """JPEGs of 500 x 375 pixels in ten folders: real images, enlarged, with noise as of a camera."""
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    files = files[:: max(len(files) // count, 1)]
    for number, file in zip(range(count), cycle(files), strict=False):
        large = np.asarray(Image.open(file).convert("RGB").resize((500, 375), Image.Resampling.BICUBIC)).astype(np.float32)
        noise = np.random.default_rng(number).normal(0, 12, large.shape)
        folder = root / f"class {number % 10}"
        folder.mkdir(exist_ok=True)
        Image.fromarray((large + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{number:06}.jpg", quality=90)


def compare(root: Path, asked: argparse.Namespace) -> None:
    """Prints the rates of all five, measured by turns, and their ratios."""
    device = torch.device(asked.device)
    own, reference, train = Own(root, device, asked), Reference(root, device, asked), step_of(asked.network, device)
    still, steps = next(iter(reference)), asked.steps
    turns: dict[str, Turn] = {
        "loading, longtail": lambda: measured(own, nothing),
        "loading, torchvision": lambda: measured(reference, nothing),
        f"{asked.network} alone": lambda: measured([still] * steps, train),
        "both, longtail": lambda: measured(islice(own, steps), train),
        "both, torchvision": lambda: measured(islice(reference, steps), train),
    }
    for turn in turns.values():
        turn()
    rounds = [{name: turn() for name, turn in turns.items()} for _ in range(asked.rounds)]
    size = sum(path.stat().st_size for path in root.rglob("*.jpg")) / asked.images / 1000
    print(f"{asked.images} JPEGs of 500 x 375 pixels, {size:.0f} kB each; random resized crop to {SIZE}, flip, normalise.")
    print(f"{asked.workers} reader(s); network on {device}, {asked.threads} thread(s), batch {asked.batch}.")
    print(
        f"Median (least, most) of {asked.rounds} rounds, in each all five by turns; CPU time of readers and trainer together.\n"
    )
    print(f"{'':>22} {'images/s':>9} {'':>17} {'CPU, ms an image':>17}")
    for name in turns:
        rates, used = ([getattr(each[name], column) for each in rounds] for column in ("rate", "used"))
        print(f"{name:>22} {median(rates):9.1f} {f'({min(rates):.1f}, {max(rates):.1f})':>17} {median(used):17.2f}")
    print()
    load, reference_load, alone, both, reference_both = ([each[name].rate for each in rounds] for name in turns)
    say("loading: longtail / torchvision", load, reference_load)
    say("both: longtail / torchvision", both, reference_both)
    say("longtail: both / the slower one alone", both, list(map(min, load, alone)))
    say("torchvision: both / the slower one alone", reference_both, list(map(min, reference_load, alone)))


def say(what: str, above: list[float], below: list[float]) -> None:
    ratios = [one / other for one, other in zip(above, below, strict=True)]
    print(f"{what:>42}: {median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f})")


@dataclass(frozen=True)
class Measured:
    """Images per second, and milliseconds of CPU time per image in this process and its readers."""

    rate: float
    used: float


def measured(batches: Batches, step: Callable[[Tensor, Tensor], None]) -> Measured:
    """Measures one pass over the batches, with the filling of the readers' queue."""
    began, used, images = time.perf_counter(), cpu_seconds(), 0
    for pixels, labels in batches:
        step(pixels, labels)
        images += len(labels)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return Measured(images / (time.perf_counter() - began), 1000 * (cpu_seconds() - used) / images)


def cpu_seconds() -> float:
    """CPU time of this process and of its readers."""
    stats = [
        Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split() for child in multiprocessing.active_children()
    ]
    return time.process_time() + sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


def nothing(pixels: Tensor, labels: Tensor) -> None:
    """Stands for a network that takes no time."""


def step_of(name: str, device: torch.device) -> Callable[[Tensor, Tensor], None]:
    """A training step of one of timm's networks."""
    network = timm.create_model(name, num_classes=10).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

    def step(pixels: Tensor, labels: Tensor) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = F.cross_entropy(network(pixels), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


class Own:
    """Batches as longtail trains on them: crops from the readers, flips and normalises on the device."""

    def __init__(self, root: Path, device: torch.device, asked: argparse.Namespace) -> None:
        files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
        split = Split(files, np.array([int(file[6]) for file in files]), root=root)
        data = Data(split, split, tuple("0123456789"), SIZE, MEAN, STD, fit="short_side", resize=256)
        self.feed = Feed(split, data, device, workers=asked.workers)
        self.batch, self.images, self.device = asked.batch, len(split), device

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator(self.device).manual_seed(0)
        crops = Crops(torch.randint(2**63 - 1, (2, self.images)))
        how = {"augment": (random_flip,), "generator": generator, "drop_last": True, "crops": crops}
        for batch in self.feed.batches(torch.randperm(self.images), self.batch, **how):
            yield batch.images, batch.labels


class Reference:
    """Batches as torchvision's reference script for classification makes them of a folder."""

    def __init__(self, root: Path, device: torch.device, asked: argparse.Namespace) -> None:
        whole = (transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip(), transforms.ToTensor())
        images = ImageFolder(root, transforms.Compose([*whole, transforms.Normalize(MEAN, STD)]))
        how = {"num_workers": asked.workers, "pin_memory": device.type == "cuda", "persistent_workers": True}
        self.loader, self.device = DataLoader(images, asked.batch, shuffle=True, drop_last=True, **how), device

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in self.loader:
            pixels = images.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
            yield pixels, labels.to(self.device, non_blocking=True)


if __name__ == "__main__":
    main()
