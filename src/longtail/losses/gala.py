"""Gradient-aware logit adjustment (GALA).

Zhang, Qin, Ren, Wang, Chen, Hong: "Gradient-Aware Logit Adjustment Loss for Long-tailed Classifier", ICASSP 2024
(arXiv 2403.09036).
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor

from longtail.arguments import Numbers
from longtail.losses.base import Loss, known
from longtail.losses.means import image_weights, known_index, one_hot, weighted_mean
from longtail.weighting import Counts

Form = Literal["code", "paper"]
FLOOR = 1e-3


class GALALoss(Loss):
    """Lowers, in training, the logits of classes whose images have contributed little gradient, so that the network raises them.

    code:  z_ij = u_ij + lambda_1 log(theta_j + 1e-3)                                               for every j
    paper: z_ij = u_ij + lambda_1 log(theta_j + 1e-3) - lambda_2 log(phi_{y_i} + 1e-3) for j != y_i,  u_ij for j = y_i
    L      = sum_i w[y_i] CE(z_i, y_i) / sum_i w[y_i],  g = dL/dz

    After each call: positive_k += sum_{i: y_i = k} |g_ik|,  negative_k += sum_{i: y_i = k} sum_{j != k} |g_ij|
                     theta += positive,  phi += negative

    theta and phi are thus sums of running sums, as in the code; nothing decays. The margin is computed from the previous calls;
    in the paper's form it is 0 until gradients have been accumulated. For softmax phi equals theta, so at lambda_1 = lambda_2
    the forms agree. The loss accumulates in training mode where gradients are recorded, only there: in eval mode, and under
    torch.no_grad in any mode, the margin is applied but not updated. Mixup calls the loss twice per step and so accumulates
    twice. At test time the plain logits are used. Since each batch changes the loss of the next, an image without a class (-100)
    is refused where labels can be read, on the CPU; on a GPU it is left out.

    Source: Zhang et al., ICASSP 2024, main equation; code followed: lt-project-repository/lt-project@1eea15d, which also adds
    -lambda_2 log(phi_{y_i} + 1e-3) to every logit of an image, which changes nothing and is left out here. The code keeps two
    C x C matrices in float32 and loses them on resume; only four vectors of these have an effect, and here they are float64
    buffers, which are saved.

    Args:
        class_counts: training images per class (C,); the loss does not use them.
        lambda_1: strength of the margin of class j; 1, or 1.2 with re-balanced predictions.
        lambda_2: strength of the margin of the image's own class; 1, or 0.9. It has no effect in the code's form.
        form: formula that is used, "code" (which produced the published tables) or "paper".
        weight: weight per class (C,). None: all one.

    >>> loss, logits, labels = GALALoss([100, 10, 1]), torch.tensor([[1.0, 0.0, -1.0], [0.0, 0.0, 0.0]]), torch.tensor([0, 1])
    >>> loss(logits, labels).item(), loss(logits, labels).item()
    (0.75310..., 0.47935...)
    >>> [round(value, 4) for value in loss.theta.tolist()]
    [0.546, 0.8348, 0.0]
    """

    balances: ClassVar[bool] = True
    ignores: ClassVar[bool] = False
    positive: Tensor
    negative: Tensor
    theta: Tensor
    phi: Tensor

    def __init__(
        self,
        class_counts: Counts,
        *,
        lambda_1: float = 1.0,
        lambda_2: float = 1.0,
        form: Form = "code",
        weight: Counts | None = None,
    ) -> None:
        super().__init__(class_counts, weight=weight)
        for name in ("positive", "negative", "theta", "phi"):
            self.register_buffer(name, torch.zeros_like(self.class_counts))
        for name, value in (("lambda_1", lambda_1), ("lambda_2", lambda_2)):
            self.at_least(-math.inf, name, value)
        self.lambda_1, self.lambda_2, self.form = lambda_1, lambda_2, known("form", form, get_args(Form))

    def forward(self, logits: Float[Tensor, "batch classes"], labels: Numbers) -> Float[Tensor, ""]:
        logits, labels = self.checked(logits, labels)
        adjusted = self.adjusted(logits, labels)
        loss = weighted_mean(F.cross_entropy(adjusted, labels, reduction="none"), labels, self.weight)
        if self.learning:
            self.accumulate(adjusted, labels)
        return loss

    def adjusted(self, logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> Float[Tensor, "batch classes"]:
        """The logits (B, C) that enter the cross-entropy, with the margin from the gradients accumulated so far."""
        class_margin = self.lambda_1 * (self.theta + FLOOR).log()
        if self.form == "code":
            return logits + class_margin.to(logits.dtype)
        margin = class_margin - self.lambda_2 * (self.phi + FLOOR).log()[known_index(labels), None]
        margin = margin.where(self.theta.sum() > 0, 0.0) * ~one_hot(labels, logits.shape[1])
        return logits + margin.to(logits.dtype)

    @torch.no_grad()
    def accumulate(self, adjusted: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> None:
        """Adds a batch's absolute gradients to `positive` and `negative`, and these to `theta` and `phi`, if all are finite."""
        own = one_hot(labels, adjusted.shape[1]).to(self.theta.dtype)
        weights = image_weights(labels, self.weight)
        share = weights / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
        gradient = (adjusted.softmax(1).to(self.theta.dtype) - own).abs() * share[:, None]
        others = (gradient * (1 - own)).sum(1, keepdim=True)
        positive, negative = self.reduced(torch.stack([(gradient * own).sum(0), (others * own).sum(0)]))
        finite = positive.isfinite().all() & negative.isfinite().all()  # else logits overflowed in half precision
        self.positive += positive.where(finite, 0.0)
        self.negative += negative.where(finite, 0.0)
        self.theta += self.positive.where(finite, 0.0)
        self.phi += self.negative.where(finite, 0.0)
