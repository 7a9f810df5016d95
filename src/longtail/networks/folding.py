"""Makes a frozen backbone faster: batch norm is folded into the convolutions before it."""

from __future__ import annotations

import torch
from torch import nn


def folded(backbone: nn.Module, *, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Returns a copy for inference, with the running statistics of the batch norms folded into the convolutions.

    Its features equal those of `backbone.eval()` up to rounding. A network that cannot be traced (it may branch on its input)
    is returned unchanged.

    Args:
        backbone: the network, whose weights and modes are left unchanged.
        dtype: type of the copy's weights; with bfloat16, autocast need not cast them anew in every pass.
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
