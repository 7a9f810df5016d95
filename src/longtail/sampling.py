"""Samples the images of an epoch and their order, as a pure function of labels, weights, seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, SupportsIndex

import torch
from jaxtyping import Int
from torch import Tensor
from torch import distributed as dist
from torch.utils.data import DistributedSampler

from longtail.arguments import Numbers, as_labels, as_vector, as_whole
from longtail.errors import UserError
from longtail.streams import epoch_seed
from longtail.weighting import Progress, Rule, uniform

MOST_CATEGORIES = 2**24  # that torch.multinomial draws from


class EpochSampler(DistributedSampler[int]):
    """Samples the image indices of an epoch by image weights per class, in a new order each epoch, for any number of processes.

    Equal weights give a permutation without replacement; all others draw as many images as there are, N, with replacement. Every
    process draws the same global list from (seed, epoch) and takes every `world`-th index of it, so the batches of all processes
    together are those of one process with the joined batch. Each process gets ceil(N / world) indices: where `world` does not
    divide N, the list begins anew at its end, so its first indices, fewer than `world`, are shown twice, as by torch's sampler.
    They are drawn like all others, so the class frequencies in expectation are the same for every number of processes.

    `epoch` is that of the next iteration, which advances it by one when it begins, so that a DataLoader shows a new order in each
    epoch by itself; `set_epoch` sets it. A state holds the place in an epoch, and may be loaded by another number of processes.

    Works as `DataLoader(dataset, sampler=EpochSampler(labels, rule=power))` in one process, in those of torchrun, and with
    Lightning's Fabric and Trainer, which leave a DistributedSampler as it is. Libraries that divide the batches among processes
    themselves (accelerate, the Trainer of transformers) need the whole list: `world=1`.

    Args:
        labels: class index of every image (N,), as a tensor, an array or a list of integers; images are never opened.
        rule: from `longtail.weighting`, (class_counts, progress) -> weights (C,).
        seed: seed of the sampling, the same in all processes.
        epochs: number of epochs of the stage, for rules that change with progress.
        rank, world: index of this process, and number of processes that divide the images. None: those of torch.distributed, read
            when an iteration begins; 0 of 1 where it is not initialised.

    Raises:
        WrongTypeError: labels, seed or a number of processes are no integers.
        UserError: there is no image, a label is below 0, or there is no such process.

    >>> sampler = EpochSampler([0, 0, 0, 1], seed=0)
    >>> first, second = list(sampler), list(sampler)
    >>> sorted(first), first == second, sampler.epoch
    ([0, 1, 2, 3], False, 2)
    >>> sampler.set_epoch(0)
    >>> list(sampler) == first
    True
    """

    def __init__(
        self,
        labels: Numbers,
        *,
        rule: Rule = uniform,
        seed: SupportsIndex = 0,
        epochs: SupportsIndex = 1,
        rank: SupportsIndex | None = None,
        world: SupportsIndex | None = None,
    ) -> None:
        self.seed, self.epochs = as_whole("EpochSampler", "seed", seed), as_whole("EpochSampler", "epochs", epochs)
        if self.seed < 0:
            raise UserError(f"EpochSampler needs a `seed` of at least 0; got {self.seed}.")
        self._given = _given_place(rank, world)
        self.labels = as_labels("EpochSampler", labels).cpu()
        if not len(self.labels):
            raise UserError("EpochSampler needs the label of at least one image; got none.")
        self.class_counts = torch.bincount(self.labels)
        self.present = torch.nonzero(self.class_counts).flatten()
        self.rule = rule
        self.epoch = self.offset = 0
        self._under_way: tuple[int, int] | None = None  # epoch and offset of an iteration that has begun

    @property
    def rank(self) -> int:  # type: ignore[override]
        """Index of this process."""
        return self._place()[0]

    @property
    def world(self) -> int:
        """Number of processes that divide the images."""
        return self._place()[1]

    num_replicas = world  # torch's name of it

    def _place(self) -> tuple[int, int]:
        if self._given is not None:
            return self._given
        return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)

    def set_epoch(self, epoch: SupportsIndex) -> None:
        """Sets the epoch of the next iteration, counted from 0; the offset of a loaded state is kept for its own epoch alone."""
        epoch = as_whole("set_epoch", "epoch", epoch)
        if epoch < 0:
            raise UserError(f"set_epoch needs an `epoch` of at least 0; got {epoch}.")
        self.epoch, self.offset, self._under_way = epoch, self.offset if epoch == self.epoch else 0, None

    def state_dict(self) -> dict[str, int]:
        """The place of the iteration that has begun, else of the next one: `epoch`, and `offset` in the list of all processes.

        A DataLoader with workers takes indices before their images are used; count the steps instead, as
        `{"epoch": epoch, "offset": steps * images_per_step_of_all_processes}`, or use torchdata's StatefulDataLoader, which does.
        """
        epoch, offset = self._under_way or (self.epoch, self.offset)
        return {"epoch": epoch, "offset": min(offset, len(self.labels))}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where the state was taken: the next iteration shows the rest of that epoch, those after it whole epochs.

        Raises:
            WrongTypeError: `epoch` or `offset` is missing or no whole number.
            UserError: there is no such place in an epoch of these images.
        """
        epoch, offset = (as_whole("load_state_dict", name, state.get(name)) for name in ("epoch", "offset"))
        if epoch < 0 or not 0 <= offset <= len(self.labels):
            raise UserError(
                f"load_state_dict needs an `epoch` of at least 0 and an `offset` from 0 to the number of images, "
                f"{len(self.labels)}; got epoch={epoch}, offset={offset}."
            )
        self.epoch, self.offset, self._under_way = epoch, offset, None

    def indices(self) -> Int[Tensor, " images"]:
        """This process's indices of the current epoch, in order; after `load_state_dict`, the rest of them."""
        drawn, (rank, world) = self.draw(), self._place()
        each = _ceil(len(drawn) - self.offset, world)
        return drawn[(self.offset + rank + world * torch.arange(each)) % len(drawn)]

    def draw(self) -> Int[Tensor, " images"]:
        """The global list of the current epoch, the same in every process."""
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
        weights = torch.zeros(len(self.class_counts), dtype=torch.float64)
        present = self._class_weights()
        weights[self.present] = present
        if bool((present == present[0]).all()):
            return torch.randperm(len(self.labels), generator=generator)
        if len(self.labels) > MOST_CATEGORIES:
            return self._class_by_class(weights, generator)
        return torch.multinomial(weights[self.labels], len(self.labels), replacement=True, generator=generator)

    def _class_by_class(self, weights: Tensor, generator: torch.Generator) -> Tensor:
        """A draw with replacement of as many images as there are: first the class of each, then an image of that class."""
        counts = torch.bincount(self.labels, minlength=len(weights))
        drawn = torch.multinomial(weights * counts, len(self.labels), replacement=True, generator=generator)
        places = (torch.rand(len(drawn), generator=generator, dtype=torch.float64) * counts[drawn]).long()
        first = counts.cumsum(0) - counts
        return self.labels.argsort(stable=True)[first[drawn] + places]

    def _class_weights(self) -> Tensor:
        """What the rule says of the classes that have images, in float64."""
        given = self.rule(self.class_counts[self.present], Progress(self.epoch, self.epochs))
        weights = as_vector("EpochSampler", given, length=len(self.present), name="weights of the rule").double().cpu()
        if not bool(weights.isfinite().all() and (weights >= 0).all() and weights.sum() > 0):
            raise UserError(
                f"The rule of EpochSampler gave weights that are negative, not finite or all 0: {weights.tolist()[:8]}."
            )
        return weights

    def __iter__(self) -> Iterator[int]:
        epoch, offset, world = self.epoch, self.offset, self.world
        indices = self.indices().tolist()
        self.epoch, self.offset = epoch + 1, 0
        for given, index in enumerate(indices, 1):
            self._under_way = epoch, offset + given * world
            yield index
        self._under_way = None

    def __len__(self) -> int:
        """Number of indices of a whole epoch in this process."""
        return _ceil(len(self.labels), self.world)


def _given_place(rank: SupportsIndex | None, world: SupportsIndex | None) -> tuple[int, int] | None:
    """The process that is given, as (rank, world); None where it is to be that of torch.distributed."""
    if rank is None and world is None:
        return None
    if world is None or (rank is None and world != 1):
        raise UserError(
            f"EpochSampler needs `rank` and `world` together, `world=1` alone (the whole list in every process) or neither (the "
            f"processes of torch.distributed); got rank={rank}, world={world}."
        )
    place = as_whole("EpochSampler", "rank", 0 if rank is None else rank), as_whole("EpochSampler", "world", world)
    if not 0 <= place[0] < place[1]:
        raise UserError(f"EpochSampler needs 0 <= rank < world; got rank={place[0]}, world={place[1]}.")
    return place


def _ceil(number: int, parts: int) -> int:
    return -(-number // parts)
