"""From indices to batches on the device: out of one uint8 tensor, or through workers that read files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from longtail.data.images import read_square
from longtail.data.splits import Data, Split
from longtail.data.transforms import Transform, normalise


@dataclass(frozen=True)
class Batch:
    """Normalised float32 images (B, 3, S, S), labels (B,), and the run's random generator on their device."""

    images: Tensor
    labels: Tensor
    generator: torch.Generator | None = None


class Feed:
    """Batches of a split's images in any order of indices. Every index is read exactly once, in the given order."""

    def __init__(self, split: Split, data: Data, device: torch.device, *, workers: int = 2) -> None:
        self.normalise = partial(normalise, mean=data.mean, std=data.std)
        self.device, self.size, self.split = device, data.size, split
        self.labels = torch.from_numpy(split.labels).to(device)
        self.pixels = None if split.pixels is None else split.pixels.to(device)
        self.workers = workers

    def batches(
        self,
        indices: Tensor,
        batch_size: int,
        *,
        augment: Sequence[Transform] = (),
        generator: torch.Generator | None = None,
        drop_last: bool = False,
    ) -> Iterator[Batch]:
        """Batches of `batch_size` images (the last one may be smaller), each augmented and normalised on the device."""
        chunks = indices.split(batch_size)
        if drop_last and len(chunks) > 1 and len(chunks[-1]) < batch_size:
            chunks = chunks[:-1]
        for chunk, raw in zip(chunks, self._raw(chunks, training=bool(augment), generator=generator), strict=True):
            images = raw
            for transform in augment:
                images = transform(images, generator)
            yield Batch(self.normalise(images), self.labels[chunk.to(self.device)], generator)

    def _raw(self, chunks: Sequence[Tensor], *, training: bool, generator: torch.Generator | None) -> Iterator[Tensor]:
        if self.pixels is not None:
            return (self.pixels[chunk.to(self.device)] for chunk in chunks)
        seed = generator.initial_seed() if generator is not None else 0
        files = _Files(self.split, self.size, seed=seed if training else None)
        loader: DataLoader[Tensor] = DataLoader(
            files,
            batch_sampler=[list(enumerate_from(chunk, place)) for place, chunk in _placed(chunks)],
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            collate_fn=torch.stack,
        )
        return (batch.to(self.device, non_blocking=True) for batch in loader)


def _placed(chunks: Sequence[Tensor]) -> Iterator[tuple[int, Tensor]]:
    place = 0
    for chunk in chunks:
        yield place, chunk
        place += len(chunk)


def enumerate_from(chunk: Tensor, place: int) -> Iterator[tuple[int, int]]:
    """(place in the epoch, index of the image): the place seeds the image's own augmentation."""
    return zip(range(place, place + len(chunk)), chunk.tolist(), strict=True)


class _Files(Dataset[Tensor]):
    """Reads and decodes one image; with a seed, a random resized crop that depends on the seed and the place alone."""

    def __init__(self, split: Split, size: int, *, seed: int | None) -> None:
        self.split, self.size, self.seed = split, size, seed

    def __getitem__(self, key: Any) -> Tensor:
        place, index = key
        assert self.split.root is not None
        crop_seed = None if self.seed is None else self.seed + place
        return read_square(self.split.root / self.split.files[index], self.size, crop_seed=crop_seed)
