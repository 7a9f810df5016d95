"""ResNet-50 at 224 pixels on a GPU: images per second of loading, the network and both, beside torchvision's reference, by turns.

    python benchmarks/record.py large_images_NAME python benchmarks/large_images.py --root IMAGES
    python benchmarks/large_images.py --root IMAGES --device cpu --quick     (shows on a CPU that everything runs)

longtail's readers decode and crop, and bytes go to the device, where they are flipped and normalised. The network computes in
bfloat16, channels last. Two other ways are switches until measured: JPEGs decoded on the device, and a compiled network.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from statistics import median

import timm
import torch
import torch.nn.functional as F  # noqa: N812
from loading import MEAN, SIZE, STD, Own, Reference, Turn, measured, nothing, photos, say
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import resized_crop

from longtail.data.transforms import normalise, random_flip
from longtail.engine.variants import keep_compiled

QUICK = {"network": "mobilenetv3_small_050", "batch": 8, "images": 32, "steps": 2, "workers": 1, "rounds": 1}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--root", type=Path, required=True, help="folder whose images are enlarged to 500 x 375 pixels")
    options.add_argument("--device", default="cuda")
    options.add_argument("--network", default="resnet50")
    options.add_argument("--batch", type=int, default=256)
    options.add_argument("--images", type=int, default=4096, help="images of an epoch")
    options.add_argument("--steps", type=int, default=12, help="batches of a measurement with the network")
    options.add_argument("--workers", type=int, default=15)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--decode-on-device", action="store_true", help="measure torchvision.io.decode_jpeg(device=...) as well")
    options.add_argument("--compile", action="store_true", help="compile the network, which takes a minute or more")
    options.add_argument("--quick", action="store_true", help="a small network and few images")
    asked = options.parse_args()
    if asked.quick:
        vars(asked).update(QUICK)
    with tempfile.TemporaryDirectory() as place:
        photos(Path(place), asked.root, asked.images)
        compare(Path(place), asked)


def compare(root: Path, asked: argparse.Namespace) -> None:
    """Prints the rates, measured by turns, and their ratios."""
    device = torch.device(asked.device)
    sources = {"longtail": Own(root, device, asked), "torchvision": Reference(root, device, asked)}
    if asked.decode_on_device:
        sources["decoded on the device"] = OnDevice(root, device, asked.batch)
    still, train = next(iter(sources["torchvision"])), step_of(asked.network, device, compiled=asked.compile)
    turns: dict[str, Turn] = {"the network alone": lambda: measured([still] * asked.steps, train)}
    for name, source in sources.items():
        turns[f"loading, {name}"] = lambda source=source: measured(islice(source, asked.steps), nothing)
        turns[f"both, {name}"] = lambda source=source: measured(islice(source, asked.steps), train)
    for turn in turns.values():
        turn()
    rounds = [{name: turn().rate for name, turn in turns.items()} for _ in range(asked.rounds)]
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    how = f"batch {asked.batch}, {asked.workers} reader(s){', compiled' * asked.compile}"
    print(f"{asked.network} at {SIZE} pixels on {where}, {how};")
    print(f"JPEGs of 500 x 375 pixels; images/s, median (least, most) of {asked.rounds} rounds.\n")
    for name in turns:
        rates = [each[name] for each in rounds]
        print(f"{name:>32} {median(rates):10.1f} ({min(rates):.1f}, {max(rates):.1f})")
    alone = [each["the network alone"] for each in rounds]
    for name in sources:
        load, both = ([each[f"{what}, {name}"] for each in rounds] for what in ("loading", "both"))
        say(f"{name}: both / the slower one alone", both, list(map(min, load, alone)))
    say("both: longtail / torchvision", *([each[f"both, {name}"] for each in rounds] for name in ("longtail", "torchvision")))


def step_of(name: str, device: torch.device, *, compiled: bool) -> Callable[[Tensor, Tensor], None]:
    """A training step in bfloat16 of one of timm's networks."""
    keep_compiled()
    network = timm.create_model(name, num_classes=10).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, fused=True)
    forward = torch.compile(network) if compiled else network

    def step(pixels: Tensor, labels: Tensor) -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = F.cross_entropy(forward(pixels), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


class OnDevice:
    """Batches of JPEGs that are read by a thread, decoded, cropped, flipped and normalised on the device."""

    def __init__(self, root: Path, device: torch.device, batch: int) -> None:
        self.files = sorted(root.rglob("*.jpg"))
        self.labels = torch.tensor([int(file.parent.name[6:]) for file in self.files])
        self.device, self.batch = device, batch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.files)).split(self.batch)
        with ThreadPoolExecutor(1) as reader:
            read = [reader.submit(self.read, chunk) for chunk in order[:2]]
            for number, chunk in enumerate(order):
                encoded = read[number].result()
                if number + 2 < len(order):
                    read.append(reader.submit(self.read, order[number + 2]))
                yield self.decoded(encoded), self.labels[chunk].to(self.device, non_blocking=True)

    def read(self, chunk: Tensor) -> list[Tensor]:
        """The bytes of the chunk's files."""
        return [read_file(str(self.files[index])) for index in chunk.tolist()]

    def decoded(self, encoded: list[Tensor]) -> Tensor:
        """Random resized crops of the images (B, 3, S, S), flipped and normalised."""
        images = decode_jpeg(encoded, ImageReadMode.RGB, device=self.device)
        crops = []
        for image in images:
            place = RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3))
            crops.append(resized_crop(image, *place, [SIZE, SIZE], antialias=True))
        return normalise(random_flip(torch.stack(crops)), mean=MEAN, std=STD)


if __name__ == "__main__":
    main()
