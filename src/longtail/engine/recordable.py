"""What stands in the way of recording a training step: found by watching one step that runs directly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from longtail.weighting import Progress

NUMBERS = ("epoch", "step", "steps")  # the number of epochs is the same throughout a stage
VALUE_DEPENDENT = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
MASKS = (torch.bool, torch.uint8)
PLAIN_VALUES = (bool, int, float, str, type(None))
SET_BY_THE_LOOP = ("params", "lr")  # of the groups of an optimizer

Part = nn.Module | torch.optim.Optimizer


class NotedProgress(Progress):
    """Progress of a stage that notes which of its numbers are read, with their values, in `reads`."""

    reads: dict[str, int]

    def __init__(self, epoch: int = 0, epochs: int = 1, step: int = 0, steps: int = 1) -> None:
        super().__init__(epoch, epochs, step, steps)
        object.__setattr__(self, "reads", {})

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name in NUMBERS:
            super().__getattribute__("reads")[name] = value
        return value


def noted(progress: Progress) -> NotedProgress:
    """The same progress, which notes what is read of it."""
    return NotedProgress(progress.epoch, progress.epochs, progress.step, progress.steps)


class HostWork(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes in `found` the first operation for which the host waits for the device, or which copies between the two.

    A single number on the CPU goes along with a kernel, whatever device that runs on, so it is no copy.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: str | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.found is None and _waits(func, args):
            self.found = str(func.name())
        result = func(*args, **(kwargs or {}))
        if self.found is None and _crosses(func, (args, kwargs, result)):
            self.found = str(func.name())
        return result


def _waits(func: Any, args: Sequence[Any]) -> bool:
    """Whether the host needs values that lie on the device, as for the size of what an operation returns."""
    if all(tensor.device.type == "cpu" for tensor in _tensors(args)):
        return False
    if func.name().startswith(("aten::index.", "aten::index_put", "aten::_index_put", "aten::_unsafe_index")):
        return any(isinstance(index, Tensor) and index.dtype in MASKS for index in args[1])
    return bool(VALUE_DEPENDENT & set(func.tags))


def _crosses(func: Any, involved: Any) -> bool:
    """Whether tensors of several devices take part."""
    copies = func.name().startswith(("aten::_to_copy", "aten::copy_"))
    return len({tensor.device for tensor in _tensors(involved) if tensor.ndim or copies}) > 1


def _tensors(involved: Any) -> list[Tensor]:
    return [each for each in tree_leaves(involved) if isinstance(each, Tensor)]


def obstacle(advance: Callable[[Progress], None], progress: Progress, parts: Sequence[Part]) -> str | None:
    """Runs a step and returns what forbids recording it, as the end of a sentence; None where nothing does.

    A recorded step repeats its kernels, not its Python code. So it must not wait for the device, not ask for its position in
    the epoch, and change no attribute of its modules and no number of its optimizer other than the content of tensors on the
    device.

    Args:
        advance: takes the step, with the progress that it is given.
        parts: what the step could change: the network, the loss and the optimizer.
    """
    watched, work, before = noted(progress), HostWork(), python_state(parts)
    with work:
        advance(watched)
    if work.found is not None:
        return f"{work.found} makes the host wait for the device, or copies between the two"
    changed = [name for name, value in python_state(parts).items() if not _same(before.get(name), value)]
    return position(watched) or (f"it changes {changed[0]} in Python" if changed else None)


def position(progress: NotedProgress) -> str | None:
    """What is wrong with a step that has read its position in the epoch; None where it has not."""
    return "it reads progress.step, which a recording cannot follow" if "step" in progress.reads else None


def python_state(parts: Sequence[Part]) -> dict[str, Any]:
    """Numbers, texts and tensors that are attributes of modules, and numbers that optimizers keep on the host, by name."""
    return {
        f"{type(part).__name__}.{name}": value
        for part in parts
        for name, value in (_attributes(part) if isinstance(part, nn.Module) else _host_numbers(part))
    }


def _attributes(whole: nn.Module) -> Iterator[tuple[str, Any]]:
    for path, module in whole.named_modules():
        for name, value in (*vars(module).items(), *module._buffers.items(), *module._parameters.items()):
            if isinstance(value, (*PLAIN_VALUES, Tensor)):
                yield f"{path}{'.' * bool(path)}{name}", value


def _host_numbers(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Any]]:
    """Numbers that the optimizer keeps in Python, or as tensors on the CPU where it trains parameters on another device."""
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    elsewhere = any(parameter.device.type != "cpu" for parameter in trained)
    for whole, parts in {"param_groups": optimizer.param_groups, "state": [*optimizer.state.values()]}.items():
        for index, values in enumerate(parts):
            for name, value in values.items():
                if name not in SET_BY_THE_LOOP and isinstance(value, PLAIN_VALUES):
                    yield f"{whole}.{index}.{name}", value
                elif elsewhere and isinstance(value, Tensor) and value.numel() == 1 and value.device.type == "cpu":
                    yield f"{whole}.{index}.{name}", value.item()


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, Tensor) or isinstance(after, Tensor):
        return before is after
    return bool(before == after or (before != before and after != after))  # nan is nan
