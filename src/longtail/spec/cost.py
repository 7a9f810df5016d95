"""What a recipe costs: the size of its network, and the arithmetic of its training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from longtail.errors import UserError
from longtail.spec.changing import change
from longtail.spec.description import parameters_of
from longtail.spec.recipe import Recipe, Setting, Stage
from longtail.steps import bilateral

USUAL_SIDE = 32  # pixels, where neither the data nor the backbone say the side of the images


@dataclass(frozen=True)
class Size:
    """Size of a network from images to features, without its head.

    Args:
        parameters: number of parameters.
        multiply_adds: multiplications, each with an addition, in the convolutions and linear layers for one image.
    """

    parameters: int
    multiply_adds: int


def stage_sizes(recipe: Recipe, setting: Setting) -> tuple[Size, ...]:
    """Size of the network in each stage, as far as a pass of training runs it; () where it cannot be built or run here.

    The network is built with random weights, on the CPU, and run on one blank image; nothing is downloaded.

    Raises:
        UserError: the recipe cannot have the setting's backbone.
    """
    wrappers = tuple(stage.backbone_wrapper if callable(stage.backbone_wrapper) else None for stage in recipe.stages)
    branched = tuple(getattr(stage.step, "func", stage.step) is bilateral for stage in recipe.stages)
    return _measured(setting.backbone, _side(setting), recipe.backbone_wrapper, wrappers, branched)


def plain_size(setting: Setting) -> Size | None:
    """Size of the setting's own network; None where it cannot be built or run here."""
    return next(iter(_measured(setting.backbone, _side(setting), None, (None,), (False,))), None)


def training_cost(recipe: Recipe, setting: Setting) -> float:
    """Cost of the training, in passes of the setting's own network over the training images.

    A pass through a network with k times the multiply-adds counts k, and one with a frozen backbone a third, having no backward
    pass there. Where the network cannot be run here, k is 1.
    """
    return sum(stage_costs(recipe, setting))


def stage_costs(recipe: Recipe, setting: Setting) -> list[float]:
    """Cost of each stage, as `training_cost` counts it."""
    sizes, plain = stage_sizes(recipe, setting), plain_size(setting)
    shares = [size.multiply_adds / plain.multiply_adds for size in sizes] if plain and sizes else [1.0] * len(recipe.stages)
    return [stage.epochs * _passes(stage) * share for stage, share in zip(recipe.stages, shares, strict=True)]


def _passes(stage: Stage) -> float:
    patterns = stage.learning_rates or ("*",)
    frozen = not any(pattern == "*" or pattern.startswith("backbone") for pattern in patterns)
    return (stage.views + (stage.companion is not None)) * (1 / 3 if frozen else 1)


def _side(setting: Setting) -> int:
    """Side of the images in pixels."""
    said = (parameters_of(setting.data).get("size"), parameters_of(setting.backbone).get("image_size"))
    return next((side for side in said if isinstance(side, int)), USUAL_SIDE)


@lru_cache(maxsize=64)
def _measured(
    build: Callable[..., Any],
    side: int,
    wrapper: Callable[..., Any] | None,
    stage_wrappers: tuple[Callable[..., Any] | None, ...],
    branched: tuple[bool, ...],
) -> tuple[Size, ...]:
    try:
        with torch.random.fork_rng(devices=[]):
            network, sizes = _wrapped(with_random_weights(build)(), wrapper, side), []
            for stage_wrapper, one_branch in zip(stage_wrappers, branched, strict=True):
                network = _wrapped(network, stage_wrapper, side)
                sizes.append(_size(network, side, one_branch=one_branch))
            return tuple(sizes)
    except UserError:
        raise
    except Exception:  # a network of the user's own may need other images, or a device
        return ()


def with_random_weights(build: Callable[..., Any]) -> Callable[..., Any]:
    """The builder of the backbone, without pretrained weights."""
    return change(build, "pretrained", False) if parameters_of(build).get("pretrained") else build


def _wrapped(network: Any, wrapper: Callable[..., Any] | None, side: int) -> Any:
    return network if wrapper is None else wrapper(network, image_size=side)


def _size(network: Any, side: int, *, one_branch: bool) -> Size:
    """The size, counted in one pass of a blank image; of two branches, one pass runs one alone."""
    counts: list[int] = []

    def count(layer: Any, given: Any, output: Tensor) -> None:
        counts.append(output.numel() * layer.weight[0].numel())

    layers = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        run = partial(network.eval().branch, which="conventional") if one_branch else network.eval()
        run(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    return Size(sum(parameter.numel() for parameter in network.parameters()), sum(counts))
