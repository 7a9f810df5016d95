"""Networks of one method whose backbones are computed as one, with grouped convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.optim import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, RAdam, RMSprop, Rprop

from longtail.data.loaders import Batch, Chunk
from longtail.engine.batches import batch_of
from longtail.engine.building import StageWork
from longtail.engine.optimizers import new_optimizer
from longtail.engine.several_networks import Member, parts_of
from longtail.errors import UserError, reason
from longtail.steps import apply_loss, classify, mixed_images, mixed_losses, mixup
from longtail.weighting import Progress

ELEMENTWISE = (SGD, Adam, AdamW, RMSprop, Adagrad, Adadelta, Adamax, RAdam, Rprop)  # no number's step depends on another number
STEP = "step"  # the one number in the state of an optimizer that networks have in common


class Stacked:
    """Steps of networks whose backbones are computed as one; heads and losses remain each network's.

    Weights, statistics and the optimizer's state are copies, which `give_back` writes to the networks and their own optimizers.

    Args:
        members: networks in a stage that trains all parameters at one rate, with the step `classify` or `mixup`.

    Raises:
        UserError: the stage is another one, or the backbone has an operation that cannot be computed for several at once.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        (loop, work), self.members = members[0], members
        self.alpha = alpha_of(work)
        self.backbones = [each.network.backbone for _, each in members]
        self.parameters, self.buffers = stack_module_state(self.backbones)
        self.features = vmap(partial(functional_call, self.backbones[0]))
        self._try(loop.experiment.data.size)
        rate = work.optimizer.param_groups[0]["lr"]
        heads = [parameter for _, each in members for parameter in beside_backbone(each)]
        groups = [{"params": [*self.parameters.values(), *heads], "lr": rate}]
        self.optimizer = new_optimizer(work.stage, groups, loop.compute.device)
        self._take_states()

    def __call__(self, joint: Chunk, progress: Progress) -> None:
        """Takes one step of all networks."""
        loop, work = self.members[0]
        for _, each in self.members:
            if each.device_rates is None:
                each.set_rates(progress)
        self.optimizer.param_groups[0]["lr"] = work.optimizer.param_groups[0]["lr"]
        batches = [
            batch_of(each.experiment, each.feed, work.index, part, each.generator)
            for (each, _), part in zip(self.members, parts_of(joint, self.members), strict=True)
        ]
        self.optimizer.zero_grad()  # of a recording that failed, none was computed
        with loop.compute.autocast():
            values = self.losses(batches)
        loop.compute.backward(torch.stack(values).sum())
        loop.compute.step(self.optimizer)
        self.optimizer.zero_grad()
        for (own, _), value in zip(self.members, values, strict=True):
            own.tally.add(value.detach())

    def losses(self, batches: Sequence[Batch]) -> list[Tensor]:
        """The loss of each network on its batch."""
        mixes = [None if self.alpha is None else mixed_images(batch, self.alpha) for batch in batches]
        images = torch.stack([batch.images if mix is None else mix[2] for batch, mix in zip(batches, mixes, strict=True)])
        features = self.features((self.parameters, self.buffers), (images,))
        values = []
        for (_, work), own, batch, mix in zip(self.members, features, batches, mixes, strict=True):
            logits = work.network.head(own)
            if mix is None:
                values.append(apply_loss(work.loss, logits, batch.labels, batch.generator))
            else:
                values.append(mixed_losses(work.loss, logits, batch, *mix[:2]))
        return values

    @torch.no_grad()
    def give_back(self) -> None:
        """Copies weights, statistics and the optimizer's state back to the networks and their optimizers."""
        for name, stacked in (*self.parameters.items(), *self.buffers.items()):
            for backbone, own in zip(self.backbones, stacked, strict=True):
                owner, _, last = name.rpartition(".")
                getattr(backbone.get_submodule(owner), last).copy_(own)
        for name, parameter in self.parameters.items():
            for index, own in enumerate(self._own_states(name)):
                for key, value in self.optimizer.state[parameter].items():
                    write(own, key, value[index] if isinstance(value, Tensor) and key != STEP else value)
        scale = self.members[0][0].compute.scaler.state_dict()
        for loop, _ in self.members[1:]:
            loop.compute.scaler.load_state_dict(scale)

    def _take_states(self) -> None:
        """Begins with the states of the networks' own optimizers, which for heads and losses stay in use."""
        for _, work in self.members:
            self.optimizer.state.update({each: work.optimizer.state[each] for each in beside_backbone(work)})
        for name, parameter in self.parameters.items():
            own = self._own_states(name)
            self.optimizer.state[parameter] = {key: joined(key, [each[key] for each in own]) for key in own[0]}

    def _own_states(self, name: str) -> list[dict[str, Any]]:
        """The state of a backbone's parameter in the optimizer of each network; empty before the first step."""
        pairs = zip(self.members, self.backbones, strict=True)
        return [work.optimizer.state[backbone.get_parameter(name)] for (_, work), backbone in pairs]

    @torch.no_grad()
    def _try(self, size: int) -> None:
        """Computes the features of two blank images, with statistics that are thrown away."""
        self.backbones[0].train()
        first = next(iter(self.parameters.values()))
        blank = torch.zeros(len(self.members), 2, 3, size, size, device=first.device, dtype=first.dtype)
        buffers = {name: buffer.clone() for name, buffer in self.buffers.items()}
        try:
            self.features((self.parameters, buffers), (blank,))
        except RuntimeError as error:
            raise UserError(f"These networks cannot be stacked ({reason(error).removesuffix('.')}).") from error


def beside_backbone(work: StageWork) -> list[nn.Parameter]:
    """The parameters of a network's head and of its loss."""
    return [*work.network.head.parameters(), *work.loss.parameters()]


def joined(key: str, values: Sequence[Any]) -> Any:
    """One entry of the state of an optimizer, made of those of all networks."""
    if not isinstance(values[0], Tensor):
        return values[0]
    return values[0].clone() if key == STEP else torch.stack(list(values))


def write(state: dict[str, Any], key: str, value: Any) -> None:
    """Writes an entry of the state of an optimizer into the memory that it has, which recorded steps keep."""
    if isinstance(state.get(key), Tensor):
        state[key].copy_(value)
    else:
        state[key] = value.clone() if isinstance(value, Tensor) else value


def alpha_of(work: StageWork) -> float | None:
    """The alpha of a stage's mixup; None where its step is `classify`.

    Raises:
        UserError: the stage has another step, trains a part of the network, has several learning rates, averages weights, or has
            an optimizer whose steps of one network depend on the numbers of another once they lie in one tensor.
    """
    step: Callable[..., Any] = getattr(work.stage.step, "func", work.stage.step)
    all_alike = len(work.optimizer.param_groups) == 1 and work.stage.batch_norm == "train" and work.average is None
    if step not in (classify, mixup) or not all_alike:
        raise UserError(
            "Networks can be stacked in stages that train all parameters at one rate, average no weights, and have the step "
            "classify or mixup."
        )
    if type(work.optimizer) not in ELEMENTWISE:
        names = ", ".join(each.__name__ for each in ELEMENTWISE)
        raise UserError(f"Networks with the optimizer {type(work.optimizer).__name__} cannot be stacked; with {names} they can.")
    return None if step is classify else getattr(work.stage.step, "keywords", {}).get("alpha", 1.0)
