"""A frozen backbone made fast: batch norm folded into the convolutions before it."""

from __future__ import annotations

import torch
from torch import nn


def folded(backbone: nn.Module, *, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A copy for forward passes alone, with the batch norms' running statistics folded into the convolutions.

    Equal to `backbone.eval()` up to rounding. What cannot be traced (a network that branches on its input) is returned as it is.

    Args:
        dtype: of the copy's weights; bfloat16 saves autocast from casting them anew in every pass.
    """
    from torch.fx.experimental.optimization import fuse
    from torch.fx.proxy import TraceError

    training = {module: module.training for module in backbone.modules()}
    try:
        fast: nn.Module = fuse(backbone.eval())
    except (TraceError, TypeError, NotImplementedError):
        return backbone
    finally:
        for module, mode in training.items():
            module.training = mode
    return fast.to(dtype).to(memory_format=torch.channels_last).requires_grad_(False).eval()


def is_frozen(module: nn.Module) -> bool:
    """Whether no parameter of the module is trained."""
    return not any(parameter.requires_grad for parameter in module.parameters())
