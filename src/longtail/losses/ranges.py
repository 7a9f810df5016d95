"""One warning where a loss is given other numbers than it is meant for: logits that are no cosines, or features of any length."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from longtail.arguments import in_a_program, readable

TOLERANCE = 0.05  # cosines in bfloat16 reach 1.01
LATER = 10


class OneWarning:
    """A warning that is given once, where a number measured of a batch is above a limit.

    On the CPU every batch is measured until the warning is given. On another device the host would have to wait for the number,
    so only one batch is measured there, the tenth: a network that is not meant for the loss has left the range by then.

    Args:
        sentence: the warning, with `{:g}` in the place of the number.
        measure: function from a batch to the number.
        limit: largest number for which nothing is said.
    """

    def __init__(self, sentence: str, measure: Callable[[Tensor], Tensor], *, limit: float) -> None:
        self.sentence, self.measure, self.limit = sentence, measure, limit
        self.calls, self.done = 0, False

    def look_at(self, values: Tensor) -> None:
        """Measures a batch where that costs no waiting, and warns if the number is above the limit."""
        if self.done or not values.numel() or not self._may_read(values):
            return
        found = float(self.measure(values.detach().float()))
        if found > self.limit:
            self.done = True
            warnings.warn(self.sentence.format(found), stacklevel=6)  # the line that calls the loss

    def _may_read(self, values: Tensor) -> bool:
        if readable(values):
            return True
        if values.device.type in ("cpu", "meta") or in_a_program():
            return False
        self.calls += 1
        return self.calls == LATER and not (values.is_cuda and torch.cuda.is_current_stream_capturing())


def needs_cosines(loss: str) -> OneWarning:
    """The warning of a loss that multiplies cosines by its own scale."""
    return OneWarning(
        f"{loss} was given a logit of size {{:.3g}}, but it takes cosines, which lie between -1 and 1, and scales them itself. "
        f"Put longtail.heads.CosineHead in the place of the last linear layer; without it the loss can grow until it is nan.",
        largest_size,
        limit=1 + TOLERANCE,
    )


def needs_unit_vectors(loss: str) -> OneWarning:
    """The warning of a loss on features of length 1."""
    return OneWarning(
        f"{loss} was given features whose length is {{:.3g}} away from 1, but it takes unit vectors. Normalise them first: "
        f"torch.nn.functional.normalize(features, dim=1).",
        farthest_from_unit,
        limit=TOLERANCE,
    )


def largest_size(values: Tensor) -> Tensor:
    """The largest absolute value."""
    return values.abs().amax()


def farthest_from_unit(vectors: Tensor) -> Tensor:
    """The largest difference of a row's length from 1."""
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=1)
    return (lengths - 1).abs().amax()
