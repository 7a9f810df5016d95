"""Other ways to compute the same training step with fewer or faster kernels: each is off until it is asked for by name.

What each one keeps, as tests check on the CPU: `cast` and `counters` every bit of the weights, `compile` the losses of 50 steps
in float32 within one part in a thousand.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from longtail.errors import UserError
from longtail.networks.experts import ExpertsBackbone
from longtail.networks.timm_backbone import TimmBackbone
from longtail.networks.wrappers import TwoBranchBackbone
from longtail.text import unknown

VARIANTS: Mapping[str, str] = {
    "compile": "the network is compiled (torch.compile); the first steps of a stage take up to minutes",
    "cast": "weights become half precision once per step, all together, and not layer by layer",
    "counters": "the batch norms' counts of batches are raised together, once per step",
}
# the fastest variants that benchmarks/gpu.py found, by a part of the device's name
BEST: Mapping[str, tuple[str, ...]] = {"H100": ("cast", "counters")}
BACKEND = "inductor"


def variants_of(asked: str, device: str) -> tuple[str, ...]:
    """The variants that `asked` names, in alphabetical order.

    Args:
        asked: "none"; "auto" for the best ones known for the device; or names of `VARIANTS`, separated by commas.
        device: name of the device.

    Raises:
        UserError: there is no variant of a name.
    """
    if asked == "none":
        return ()
    if asked == "auto":
        return next((names for part, names in BEST.items() if part in device), ())
    names = tuple(sorted({name.strip() for name in asked.split(",")}))
    for name in names:
        if name not in VARIANTS:
            raise UserError(unknown("variant of `fast`", name, ["auto", "none", *VARIANTS]))
    return names


class FastStep:
    """Surroundings in which a stage's steps compute the forward pass as variants say.

    Args:
        network: classifier that the steps call.
        names: names of the variants.
        batch_size: number of images of a full batch; batches of other sizes are never compiled, so that full ones are once.
    """

    def __init__(self, network: Any, names: Sequence[str] = (), *, batch_size: int = 0) -> None:
        self.network, self.names, self.batch_size = network, tuple(names), batch_size
        self.compiled = list(compiled_parts(network.backbone)) if "compile" in names else []

    @contextmanager
    def __call__(self, images: int) -> Iterator[None]:
        """Surrounds the forward pass of a batch of so many images; under autocast, it is entered inside of that."""
        with ExitStack() as stack:
            for enter in self._chosen(images):
                stack.enter_context(enter)
            yield

    def _chosen(self, images: int) -> Iterator[AbstractContextManager[None]]:
        if "counters" in self.names:
            yield counted_together(self.network)
        if "cast" in self.names:
            yield cast_once(self.network.backbone)
        if images == self.batch_size:
            yield from (in_place_of(*part) for part in self.compiled)


@contextmanager
def counted_together(network: nn.Module) -> Iterator[None]:
    """Raises the counts of batches of all batch norms in training mode by one, however often the network is run inside.

    The counts have no effect on training, since no batch norm here averages over all batches.
    """
    norms = [
        m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training and m.momentum is not None
    ]
    counts = [norm.num_batches_tracked for norm in norms]
    for norm in norms:
        norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, count in zip(norms, counts, strict=True):
            norm.num_batches_tracked = count
    given = [count for count in counts if count is not None]
    if given:
        torch._foreach_add_(given, 1)


@contextmanager
def cast_once(backbone: nn.Module) -> Iterator[None]:
    """Gives convolutions and linear layers their weights in autocast's type, cast together; without autocast nothing changes."""
    layers = [m for m in backbone.modules() if isinstance(m, (nn.Conv2d, nn.Linear)) and m.weight.dtype == torch.float32]
    kind = layers[0].weight.device.type if layers else "cpu"
    if not layers or not torch.is_autocast_enabled(kind):
        yield
        return
    weights, cached = [layer.weight for layer in layers], torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        for layer, half in zip(layers, _Cast.apply(torch.get_autocast_dtype(kind), *weights), strict=True):
            vars(layer)["_parameters"]["weight"] = half
        yield
    finally:
        torch.set_autocast_cache_enabled(cached)
        for layer, weight in zip(layers, weights, strict=True):
            vars(layer)["_parameters"]["weight"] = weight


class _Cast(torch.autograd.Function):
    """Casts tensors together, and their gradients back together."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.dtype = tensors[0].dtype
        return _cast_together(tensors, dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return None, *_cast_together(gradients, ctx.dtype)


def _cast_together(tensors: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    made = tuple(torch.empty_like(tensor, dtype=dtype) for tensor in tensors)
    torch._foreach_copy_(made, tensors)
    return made


def compiled_parts(backbone: nn.Module) -> Iterator[tuple[nn.Module, str, Callable[..., Any]]]:
    """The parts of a backbone that steps call, each with the name of the method that is called and the method compiled."""
    keep_compiled()
    for module in backbone.modules():
        if isinstance(module, TimmBackbone):
            yield module.body, "forward", _compiled(module.body.forward)
        elif isinstance(module, TwoBranchBackbone):
            yield from ((block, "forward", _compiled(block.forward)) for block in (module.conventional, module.rebalancing))
        elif isinstance(module, ExpertsBackbone):
            yield from ((expert, "forward", _compiled(expert.forward)) for expert in module.experts)
        elif hasattr(module, "maps") and not hasattr(module, "inner"):
            yield module, "maps", _compiled(cast(Callable[..., Any], module.maps))


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled for inputs of fixed sizes.

    Raises:
        UserError: when it is first called, if it cannot be compiled here.
    """
    fast = torch.compile(function, dynamic=False, backend=BACKEND)

    def called(*arguments: Any) -> Any:
        try:
            return fast(*arguments)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = " ".join(str(error).split("\n")[:2]).strip()
            raise UserError(
                f"The network cannot be compiled here ({reason}). `fast=compile` needs a C++ compiler on a CPU, Triton on a GPU; "
                f"leave it out."
            ) from error

    return called


def keep_compiled() -> None:
    """Keeps what torch compiles in the user's cache folder, so that the next run finds it; a folder that is set already stays."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "longtail" / "compiled"))


@contextmanager
def in_place_of(module: nn.Module, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Inside the `with` block the module has `function` in place of its method of that name."""
    vars(module)[name] = function
    try:
        yield
    finally:
        del vars(module)[name]
