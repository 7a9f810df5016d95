"""Augmentation of a whole batch at once, on the device it lies on.

Each is a function `(images, generator) -> images` of uint8 images (B, 3, H, W); hyper-parameters are keyword-only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, UInt8
from torch import Tensor

Images = UInt8[Tensor, "batch 3 height width"]
Transform = Callable[..., Images]


def random_crop(images: Images, generator: torch.Generator | None = None, *, padding: int = 4) -> Images:
    """A window of the image's own size out of the image with `padding` black pixels around it."""
    batch, _, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    corner = torch.randint(2 * padding + 1, (2, batch, 1), generator=generator, device=images.device)
    rows = corner[0] + torch.arange(height, device=images.device)
    columns = corner[1] + torch.arange(width, device=images.device)
    image = torch.arange(batch, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def random_flip(images: Images, generator: torch.Generator | None = None) -> Images:
    """Mirrored left to right, every second image on average."""
    mirrored = torch.rand((len(images), 1, 1, 1), generator=generator, device=images.device) < 0.5
    return torch.where(mirrored, images.flip(3), images)


def cutout(images: Images, generator: torch.Generator | None = None, *, side: int = 16) -> Images:
    """A black square of `side` pixels around a random pixel, cut off at the border (DeVries and Taylor, 2017)."""
    batch, _, height, width = images.shape
    inside = [_near_random_pixel(length, batch, side, generator, images.device) for length in (height, width)]
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images.masked_fill(hole, 0)


def _near_random_pixel(length: int, batch: int, side: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    centre = torch.randint(length, (batch, 1), generator=generator, device=device)
    distance = torch.arange(length, device=device) - centre
    return (distance >= -(side // 2)) & (distance < side - side // 2)


def random_resized_crop(
    images: Images, generator: torch.Generator | None = None, *, area: tuple[float, float] = (0.08, 1.0)
) -> Images:
    """A window of 8 to 100 % of the area and of ratio 3/4 to 4/3, resized to the image's own size (Szegedy et al., 2015)."""
    batch, _, height, width = images.shape
    draw = torch.rand((4, batch), generator=generator, device=images.device)
    share = area[0] + (area[1] - area[0]) * draw[0]
    ratio = (3 / 4) * (16 / 9) ** draw[1]
    scale = torch.stack([(share * ratio).sqrt(), (share / ratio).sqrt()]).clamp(max=1.0)
    centre = (1 - scale) * (2 * draw[2:] - 1)
    theta = images.new_zeros((batch, 2, 3), dtype=torch.float32)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, 0, 2], theta[:, 1, 2] = scale[0], scale[1], centre[0], centre[1]
    grid = F.affine_grid(theta, [batch, 3, height, width], align_corners=False)
    resized = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return resized.round().clamp(0, 255).to(torch.uint8)


def normalise(images: Images, *, mean: Sequence[float], std: Sequence[float]) -> Float[Tensor, "batch 3 height width"]:
    """(images / 255 - mean) / std, float32, channels last in memory."""
    scale = 1 / (255 * torch.tensor(std, device=images.device))
    shift = torch.tensor(mean, device=images.device) / torch.tensor(std, device=images.device)
    floats = images.contiguous(memory_format=torch.channels_last).float()
    return floats * scale[:, None, None] - shift[:, None, None]
