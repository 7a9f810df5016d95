"""Defaults for a folder of images: image size, backbone, epochs, and a sentence that says what was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from longtail import settings
from longtail.data.class_names import said_of_near
from longtail.data.collection import Listing
from longtail.data.csv_list import read_csv
from longtail.data.folder import training_images
from longtail.data.images import short_side
from longtail.data.listing import class_around, list_images, said_of_unlisted, unlisted
from longtail.data.names import is_image
from longtail.data.walking import some
from longtail.errors import UserError
from longtail.results import counted
from longtail.runs.devices import chosen_device
from longtail.runs.places import name_of_runs
from longtail.spec.description import parameters_of
from longtail.spec.recipe import FineTuning, Setting
from longtail.workflow.fine_tuning import Pretrained, epochs_of_fine_tuning, pretrained_of, usual_of
from longtail.workflow.request import Request

SIZES = (32, 64, 128, 224)
SAMPLE = 500
KINDS = "none for signs, text and digits; mirror for photos of things; square for aerial images, microscopy, cells and plankton"


@dataclass(frozen=True)
class Choice:
    """A setting for a folder, a sentence that says what was chosen and which options change it, and further sentences."""

    setting: Setting
    sentence: str
    notes: tuple[str, ...] = ()


def choose(request: Request, path: Path) -> Choice:
    """Chooses a setting for the folder; of its images, only the sizes of a sample are read."""
    how: Any = {"missing_ok": request.skip_corrupt, "outside": request.outside}
    listing = read_csv(request.split, below=path, **how) if request.split is not None else list_images(path, **how)
    listing.check()
    name = name_of_runs(request.runs, path, classes=listing.classes, reserved=settings.NAMED)
    if path.is_dir() and (around := class_around(listing, request.runs / name)) is not None:
        raise UserError(f"The runs would lie in '{around}', a class of the images; choose another folder with `runs=DIR`.")
    device = chosen_device(request.device)
    start, note = start_of(request, device)
    tuned = start is not None and request.budget in (None, "fine-tuning")
    imbalance = request.imbalance if request.split is None else None
    images = training_images(listing, imbalance=imbalance, split_seed=request.split_seed)
    size = request.size or (start and start.size_on(device)) or image_size(listing, device)
    chosen: dict[str, Any] = {
        "name": name,
        "size": size,
        "backbone": start.backbone if start else request.backbone or usual_backbone(size, device),
        "epochs": request.epochs or (epochs_of_fine_tuning if tuned else epoch_budget)(images, device),
        "pretrained": start is not None and request.weights is None,
        "augment": request.augment or ("light" if tuned else "standard"),
        **(start.pixels if start else {}),
    }
    given = ((each, getattr(request, each, None)) for each in parameters_of(settings.folder))
    asked = {each: value for each, value in given if value is not None}
    batches = {"batch_size": batch_size(images), "largest_batch": largest_batch(images)}
    setting = settings.folder(**{**asked, **chosen, **batches})
    budget = "fine-tuning" if tuned else request.budget or "paper"
    setting = replace(setting, budget=budget, fine_tuning=start.budget if start and tuned else None)
    said = " ".join((sentence(request, listing, setting, chosen, start), note)).strip()
    left = said_of_unlisted(unlisted(listing)) if request.split is None else _left_by_split(listing, path)
    return Choice(setting, said, (*listing.notes, *left, *said_of_near(listing.classes)))


def _left_by_split(listing: Listing, path: Path) -> tuple[str, ...]:
    """A sentence on the images in the folder that a given split does not name; nothing for a CSV, which names what it means."""
    left = [file for file in unlisted(replace(listing, csv=None)) if is_image(Path(file).name)] if path.is_dir() else []
    what = f"{counted(len(left), 'image')} in '{path}' that '{listing.csv}' does not name"
    return (f"Left out {what} ({some(left)}).",) if left else ()


def start_of(request: Request, device: str) -> tuple[Pretrained | None, str]:
    """The pretrained network that training starts from, and a sentence where there is none although it would be usual.

    Raises:
        UserError: fine-tuning is asked for without weights, or the weights do not say which network they belong to.
    """
    start, note = pretrained_of(request, device), ""
    if start is None and request.pretrained is None and request.backbone is None and request.budget is None:
        return usual_of(device)
    if start is None and request.budget == "fine-tuning":
        raise UserError("`budget=fine-tuning` is for pretrained weights; give `weights=FILE`, or `pretrained` with a connection.")
    return start, note


def usual_backbone(size: int, device: str) -> str:
    """Name of the network that is trained from random weights."""
    return "resnet32" if size <= 64 else "resnet18" if device == "cpu" else "resnet50"


def image_size(listing: Listing, device: str) -> int:
    """Image size in pixels: the largest of 32, 64, 128 and 224 not above the median short side; at most 64 on a CPU."""
    stride = max(len(listing.files) // SAMPLE, 1)
    sides = [side for file in listing.files[::stride] if (side := short_side(listing.root / file)) is not None]
    typical = median(sides) if sides else SIZES[0]
    allowed = [size for size in SIZES if size <= typical and (device != "cpu" or size <= 64)]
    return max(allowed, default=SIZES[0])


def epoch_budget(images: int, device: str) -> int:
    """Number of epochs of a first stage: about 400,000 images shown on a CPU, 2.5 million on a GPU, within 10 and 200 epochs.

    Args:
        images: number of training images.
    """
    shown = 400_000 if device == "cpu" else 2_500_000
    return min(max(round(shown / images), 10), 200)


def batch_size(images: int) -> int:
    """Batch size: 64, or a quarter of the training images where that is less; at least 8."""
    return min(64, largest_batch(images))


def largest_batch(images: int) -> int:
    """Largest batch size that a method may have: a quarter of the training images, at least 8."""
    return max(images // 4, 8)


def sentence(request: Request, listing: Listing, setting: Setting, chosen: Mapping[str, Any], start: Pretrained | None) -> str:
    """Sentence that says what was chosen and which options change it."""
    if request.split is not None:
        split = "the split given by `split`"
    elif listing.splits is not None:
        split = _split_words(listing)
    else:
        split = f"20 % of each class for test (`split_seed={request.split_seed}`, `split=FILE`)"
    size = f"{chosen['size']}x{chosen['size']} pixels (`size`)"
    backbone = f"{chosen['backbone']} (`backbone`)"
    if start is not None:
        backbone += f", which starts from {start.source} and is given images as it was trained with"
    epochs = f"{counted(chosen['epochs'], 'epoch')} (`epochs`)"
    if setting.fine_tuning is not None:
        changed = (
            f"but for `changes={dict(request.changes)!r}`" if request.changes else "`changes={'stages.0.optimizer.lr': 0.0005}`"
        )
        epochs += f" of fine-tuning: {tuning_words(setting.fine_tuning)} ({changed})"
    augmented = f"{setting.augmentation} augmentation (`augment`)"
    if request.symmetry is not None:
        augmented += f" under the symmetry {request.symmetry}"
    augmented += f"; symmetry (`symmetry`): {KINDS}"
    return f"{split}; {size}; {backbone}; {epochs}; {augmented}"


def _split_words(listing: Listing) -> str:
    others = ", ".join(f"{name} for {split}" for split, name in listing.called.items() if name != split)
    return f"the split of the {'CSV' if listing.csv else 'folder'}{f' ({others})' if others else ''}"


def tuning_words(tuning: FineTuning) -> str:
    """The values of fine-tuning, in words."""
    optimizer = parameters_of(tuning.optimizer)
    name = getattr(tuning.optimizer, "func", tuning.optimizer).__name__
    layers = f", x{tuning.layer_decay:g} from each block to the one before" if tuning.layer_decay != 1 else ""
    return (
        f"{name} at {optimizer['lr']:g} (backbone x{tuning.backbone_rate:g}{layers}), half a cosine after a warm-up, weights "
        f"averaged over {100 * tuning.average:g} % of the steps, label smoothing {tuning.smoothing:g}"
    )
