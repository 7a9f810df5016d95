"""Defaults for a folder of images: image size, backbone, epochs, and a sentence that says what was chosen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median

from longtail import settings
from longtail.data.folder import training_images
from longtail.data.images import short_side
from longtail.data.listing import Listing, class_around, list_images, read_csv
from longtail.engine.devices import chosen_device
from longtail.errors import UserError
from longtail.runs.layout import folder_name
from longtail.spec.description import parameters_of
from longtail.spec.recipe import Setting
from longtail.workflow.request import Request

SIZES = (32, 64, 128, 224)
SAMPLE = 500
KINDS = "none for signs, text and digits; mirror for photos of things; square for aerial images, microscopy, cells and plankton"


@dataclass(frozen=True)
class Choice:
    """A setting for a folder, and a sentence that says what was chosen and which options change it."""

    setting: Setting
    sentence: str


def choose(request: Request, path: Path) -> Choice:
    """Chooses a setting for the folder; of its images, only the sizes of a sample are read."""
    split, outside = request.split, request.outside
    listing = read_csv(split, below=path, outside=outside) if split is not None else list_images(path, outside=outside)
    listing.check()
    if path.is_dir() and (name := class_around(listing, request.runs / folder_name(path))) is not None:
        raise UserError(f"The runs would lie in '{name}', a class of the images; choose another folder with `runs=DIR`.")
    device = chosen_device(request.device)
    size = request.size or image_size(listing, device)
    backbone = request.backbone or ("resnet32" if size <= 64 else "resnet18" if device == "cpu" else "resnet50")
    epochs = request.epochs or epoch_budget(len(listing.files), device)
    given = ((name, getattr(request, name, None)) for name in parameters_of(settings.folder))
    asked = {name: value for name, value in given if value is not None}
    chosen = {"name": folder_name(path), "size": size, "epochs": epochs, "backbone": backbone}
    imbalance = request.imbalance if request.split is None else None
    largest = largest_batch(training_images(listing, imbalance=imbalance, split_seed=request.split_seed))
    setting = settings.folder(**{**asked, **chosen}, batch_size=batch_size(len(listing.files)), largest_batch=largest)
    return Choice(setting, sentence(request, listing, size, backbone, setting))


def image_size(listing: Listing, device: str) -> int:
    """Image size in pixels: the largest of 32, 64, 128 and 224 not above the median short side; at most 64 on a CPU."""
    stride = max(len(listing.files) // SAMPLE, 1)
    sides = [side for file in listing.files[::stride] if (side := short_side(listing.root / file)) is not None]
    typical = median(sides) if sides else SIZES[0]
    allowed = [size for size in SIZES if size <= typical and (device != "cpu" or size <= 64)]
    return max(allowed, default=SIZES[0])


def epoch_budget(images: int, device: str) -> int:
    """Number of epochs of a first stage: about 400,000 images shown on a CPU, 2.5 million on a GPU, within 10 and 200 epochs."""
    shown = 400_000 if device == "cpu" else 2_500_000
    return min(max(round(shown / images), 10), 200)


def batch_size(images: int) -> int:
    """Batch size: 64, or a quarter of the images where that is less; at least 8."""
    return max(min(64, images // 4), 8)


def largest_batch(images: int) -> int:
    """Largest batch size that a method may have: a quarter of the training images, at least 8."""
    return max(images // 4, 8)


def sentence(request: Request, listing: Listing, size: int, backbone: str, setting: Setting) -> str:
    """Sentence that says what was chosen and which options change it."""
    if request.split is not None:
        split = "the split given by `split`"
    elif listing.splits is not None:
        split = "the split of the folder"
    else:
        split = f"20 % of each class for test (`split_seed={request.split_seed}`, `split=FILE`)"
    return (
        f"{split}; {size}x{size} pixels (`size`); {backbone} (`backbone`); {setting.epochs} epochs (`epochs`); "
        f"{setting.augmentation} augmentation (`augment`) under the symmetry {setting.symmetry} (`symmetry`: {KINDS})"
    )
