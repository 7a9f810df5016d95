"""Looks whether the images of a folder keep their class when they are mirrored or turned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor

from longtail.data.loaders import Feed
from longtail.data.splits import Data, fingerprint
from longtail.data.symmetry import VIEWS_OF
from longtail.networks.pretrained import load_backbone
from longtail.runs.settled import settled
from longtail.spec.description import digest
from longtail.spec.recipe import Setting, with_augmentation
from longtail.workflow.fine_tuning import weights_of
from longtail.workflow.request import Request
from longtail.workflow.watcher import Watcher

IMAGES = 600
GRID = 16  # side to which images are averaged where pixels are compared
KEPT = 0.8  # share of the accuracy that quarter turns leave, above which images have no upright position
Features = Float[Tensor, "images features"]
View = Callable[[Tensor], Tensor]


def with_symmetry(request: Request, setting: Setting, data: Data, watcher: Watcher) -> Setting:
    """The setting of a folder with the symmetry that its images seem to have, and as many views, unless others were asked for."""
    if request.symmetry is None and request.augment != "none":
        setting = with_augmentation(setting, None, _settled_symmetry(request, setting, data, watcher))
    return replace(setting, views=request.views or VIEWS_OF[setting.symmetry or "none"])


def _settled_symmetry(request: Request, setting: Setting, data: Data, watcher: Watcher) -> str:
    """The symmetry that was found on the same images before, which is said; else what a look at them finds, which is stored."""
    looked = list[bool]()

    def look() -> str:
        looked.append(True)
        return found_symmetry(setting, data, request, watcher)

    key = digest("symmetry", fingerprint(data), setting.backbone, setting.weights, setting.data)
    name = settled(request.runs, setting.name, key, list(VIEWS_OF), look)
    if not looked:
        watcher.note(f"Symmetry {name}, as it was found on these images before (`symmetry`).")
    return name


def found_symmetry(setting: Setting, data: Data, request: Request, watcher: Watcher) -> str:
    """The name of the symmetry: "square", "mirror" or "none".

    A classifier by the nearest class mean, in which no image counts for its own class, is given up to 600 training images as they
    are and changed. In the features of a pretrained network, images that are turned by 90 degrees are recognised nearly as well
    only where none is upright: kept are 86 % on plankton, 62 % on CIFAR-10, 64 % on digits. Such features hardly tell left from
    right, pixels do: mirrored, digits lose 54 points of 89, CIFAR-10 none of 26. They can find left and right where
    these mean nothing: plankton loses 9 points of 15.
    """
    images, labels = _sample(data)
    if request.weights is not None or request.pretrained:
        features = _features(setting, request)
        upright, quarter, back = (_recognised(features, images, labels, view) for view in (_same, _turned, _back))
        if _beyond_chance(upright, data) and (quarter.mean() + back.mean()) / 2 >= KEPT * upright.mean():
            watcher.note("Images turned by 90 degrees are recognised about as well: symmetry square (`symmetry`).")
            return "square"
    plain, mirrored = (_recognised(_pixels, images, labels, view) for view in (_same, _mirrored))
    lost = plain - mirrored
    clearly = lost.mean() > max(3 * float(lost.std()) / len(lost) ** 0.5, 0.1 * float(plain.mean()))
    rates = (
        f"{plain.mean():.0%} of {len(images)} training images are recognised, and {mirrored.mean():.0%} of their mirror images"
    )
    if clearly or not _beyond_chance(plain, data):
        why = "" if clearly else ", which says nothing, as guesses are right about as often"
        safe = "symmetry none, which is safe; choose another where left and right mean nothing"
        watcher.note(f"By their pixels, {rates}{why}: {safe} (`symmetry`).")
        return "none"
    watcher.note(f"By their pixels, {rates}: symmetry mirror (`symmetry`).")
    return "mirror"


def _beyond_chance(recognised: Float[Tensor, " images"], data: Data) -> bool:
    """Whether images are clearly recognised more often than by a guess among all classes."""
    return bool(recognised.mean() - 1 / len(data.classes) > 3 * recognised.std() / len(recognised) ** 0.5)


def _sample(data: Data) -> tuple[Tensor, Tensor]:
    """Normalised training images (M, 3, S, S) and their labels (M,), evenly drawn from the classes with two or more."""
    generator, labels = np.random.default_rng(0), data.train.labels
    per_class = max(IMAGES // len(data.classes), 2)
    chosen = [generator.permutation(np.flatnonzero(labels == label))[:per_class] for label in range(len(data.classes))]
    indices = np.concatenate([members for members in chosen if len(members) > 1] or [np.arange(len(labels))])[:IMAGES]
    feed = Feed(data.train.take(indices), data, torch.device("cpu"))
    batches = list(feed.batches(torch.arange(len(indices)), 64))
    return torch.cat([batch.images for batch in batches]), torch.cat([batch.labels for batch in batches])


def _recognised(features: Callable[[Tensor], Features], images: Tensor, labels: Tensor, view: View) -> Float[Tensor, " images"]:
    """1 for each image that is nearest to the mean of its class when it is changed by `view`, else 0."""
    plain = features(images)
    centre = plain.mean(0)
    unit = F.normalize(plain - centre, dim=1)
    sums = torch.zeros(int(labels.max()) + 1, unit.shape[1]).index_add_(0, labels, unit)
    shown = F.normalize(features(view(images)) - centre, dim=1)
    similarity = shown @ F.normalize(sums, dim=1).T
    own = F.normalize(sums[labels] - unit, dim=1)  # the mean of the class without the image itself
    similarity[torch.arange(len(labels)), labels] = (shown * own).sum(1)
    return (similarity.argmax(1) == labels).double()


def _features(setting: Setting, request: Request) -> Callable[[Tensor], Features]:
    """Features of the pretrained network that training starts from."""
    with torch.random.fork_rng(devices=[]):
        network = setting.backbone()
    if (weights := weights_of(request)) is not None:
        load_backbone(network, weights)
    network.eval().to(memory_format=torch.channels_last)

    def features(images: Tensor) -> Features:
        with torch.inference_mode():
            return torch.cat(
                [network(part.contiguous(memory_format=torch.channels_last)) for part in torch.split(images, 64)]
            ).float()

    return features


def _pixels(images: Tensor) -> Features:
    return F.adaptive_avg_pool2d(images, GRID).flatten(1)


def _same(images: Tensor) -> Tensor:
    return images


def _mirrored(images: Tensor) -> Tensor:
    return images.flip(3)


def _turned(images: Tensor) -> Tensor:
    return torch.rot90(images, 1, (2, 3))


def _back(images: Tensor) -> Tensor:
    return torch.rot90(images, 3, (2, 3))
