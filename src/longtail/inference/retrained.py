"""A linear classifier that is trained anew on the features of the training images, with every class weighing the same."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from longtail.arguments import Numbers
from longtail.inference.adjusted import log_frequencies
from longtail.inference.fitting import fitted_on, keywords_of, not_fitted
from longtail.inference.predictions import InferenceRule, Predictions, Scores, images_per_class, in_full_precision, like

STEPS = 200
HISTORY = 2**28  # numbers in the vectors of each of the two kinds; 100 steps exceed them above 1,310 classes of 2,048 features


@fitted_on("train", keyword="weight", learn=lambda rule, train: balanced_classifier(rule, train))
def retrained(
    predictions: Predictions,
    *,
    strength: float = 1.0,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    mean: Tensor | None = None,
    deviation: Tensor | None = None,
    target: Numbers | None = None,
) -> Scores:
    """Scores of a new linear classifier on standardised features: z = W (f - mean) / deviation + b + log target.

    It is fitted on the features of the training images without augmentation: multinomial logistic regression in which an image
    weighs v_i = N / (C n_y), as if all classes were drawn equally often, with an L2 penalty:

        min_W,b  sum_i v_i CE(z_i, y_i) + ||W||^2 / (2 strength)

    Re-training the classifier on balanced draws is the cRT of Kang et al., ICLR 2020, Sec. 4, where the images are augmented and
    drawn anew.

    Args:
        strength: inverse strength of the penalty.
        weight, bias: the classifier (C, D) and (C,); None until it is fitted.
        mean, deviation: mean and standard deviation of each feature (D,) over the training images.
        target: class frequencies in use (C,), of which only ratios matter; None where all classes are alike.

    Raises:
        UserError: `target` is not one finite number per class, none below 0 and one above it.
    """
    if weight is None or bias is None or mean is None or deviation is None:
        raise not_fitted(retrained)
    features = predictions.features.to(weight.dtype)
    standardised = (features - mean.to(features)) / deviation.to(features)
    offset = bias if target is None else bias + log_frequencies(target, len(bias)).to(bias)
    with in_full_precision(predictions):
        return like(standardised @ weight.to(features).T + offset.to(features), predictions.logits)


def balanced_classifier(rule: InferenceRule, train: Predictions) -> dict[str, Tensor]:
    """The values that `retrained` learns, by at most 200 steps of L-BFGS, whatever mode of torch its caller is in."""
    with torch.inference_mode(mode=False), torch.enable_grad(), in_full_precision(train):
        features, labels = (each.clone() if each.is_inference() else each.detach() for each in (train.features, train.labels))
        return _solved(rule, features.float(), labels, images_per_class("retrained", train))


def _solved(rule: InferenceRule, features: Tensor, labels: Tensor, counts: Tensor) -> dict[str, Tensor]:
    """The classifier for the features (N, D), and the mean and deviation that standardise them."""
    classes, labels, counts = len(counts), labels.to(features.device), counts.to(features.device)
    mean, deviation = features.mean(0), features.std(0).clamp(min=1e-6)
    inputs = (features - mean) / deviation
    share = (1 / (classes * counts.float()))[labels]
    decay = 1 / (2 * keywords_of(rule).get("strength", 1.0) * len(labels))
    weight = torch.zeros(classes, inputs.shape[1], device=inputs.device, requires_grad=True)
    bias = torch.zeros(classes, device=inputs.device, requires_grad=True)
    how: Any = {"max_iter": STEPS, "tolerance_grad": 1e-6, "line_search_fn": "strong_wolfe"}
    solver = torch.optim.LBFGS([weight, bias], history_size=remembered_steps(weight.numel()), **how)

    def objective() -> Tensor:
        solver.zero_grad()
        value: Tensor = (share * F.cross_entropy(F.linear(inputs, weight, bias), labels, reduction="none")).sum()
        value = value + decay * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    solver.step(objective)  # type: ignore[no-untyped-call]
    return {"weight": weight.detach(), "bias": bias.detach(), "mean": mean, "deviation": deviation}


def remembered_steps(parameters: int) -> int:
    """Number of earlier steps that L-BFGS keeps two vectors of: torch's 100, fewer where they would exceed 2 GiB, at least 5."""
    return max(min(100, HISTORY // parameters), 5)
