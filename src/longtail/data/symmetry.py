"""Symmetries of the square: random mirror images and quarter turns for training, and the views of a batch for prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from longtail.data.transforms import Images, choose
from longtail.errors import UserError
from longtail.results import VIEWS

VIEWS_OF = {"none": 1, "mirror": 2, "square": 8}  # views of an image under each symmetry


def random_symmetry(images: Images, generator: torch.Generator | None = None) -> Images:
    """Applies to each square image one of the eight symmetries of the square, each with probability 1/8.

    The eight are the four turns by 90 degrees and their mirror images: mirrored or not, upside down or not, transposed or not.
    """
    mirrored, upturned, transposed = torch.rand((3, len(images), 1, 1, 1), generator=generator, device=images.device) < 0.5
    images = choose(mirrored, images.flip(3), images)
    images = choose(upturned, images.flip(2), images)
    return choose(transposed, images.transpose(2, 3), images)


def views_of(images: Tensor, views: int) -> Iterator[Tensor]:
    """The views of a batch of square images (B, 3, S, S), one after the other, each in the shape of the batch.

    Args:
        views: 1 for the images themselves, 2 for these and their mirror images, 8 for all symmetries of the square.
    """
    check_views(views)
    yield images
    if views > 1:
        yield images.flip(3)
    if views == 8:
        yield from (images.flip(2), images.flip((2, 3)))
        turned = images.transpose(2, 3).contiguous(memory_format=torch.channels_last)
        yield from (turned, turned.flip(3), turned.flip(2), turned.flip((2, 3)))


def mean_over_views(forward: Callable[[Tensor], tuple[Tensor, ...]], images: Tensor, views: int) -> tuple[Tensor, ...]:
    """The means over the views of what `forward` computes, in float32; the images are passed once per view, on their device.

    Args:
        forward: function from a batch of images to tensors, such as features (B, D) and logits (B, C).
        images: square images (B, 3, S, S).
        views: number of views, as for `views_of`.
    """
    found = zip(*map(forward, views_of(images, views)), strict=True)
    return tuple(torch.stack([each.float() for each in parts]).mean(0) for parts in found)


def check_views(views: object) -> None:
    """Refuses a number of views that is not 1, 2 or 8.

    Raises:
        UserError: there is no such number of views.
    """
    if type(views) is not int or views not in VIEWS:
        raise UserError(
            f"`views` must be 1 (each image), 2 (and its mirror image) or 8 (all symmetries of the square); got {views!r}."
        )
