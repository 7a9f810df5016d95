"""Total direct effect (TDE): logits without what the average feature alone would predict."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from longtail.errors import UserError
from longtail.heads.tde import shrunk
from longtail.inference.predictions import Predictions, Scores, in_full_precision, like


def deconfounded(predictions: Predictions, *, alpha: float = 1.0) -> Scores:
    """Removes from the logits the part of each feature along the average training feature, for balanced test images.

    z_i - alpha temperature / K sum_k cos(x^k, d^k) <d^k, w_i^k / (||w_i^k|| + shrinkage)>,  d^k = E^k / ||E^k||

    The rule needs the state of a `CausalHead`; where E is zero, the logits are unchanged. On images as long-tailed as in
    training, alpha 0 (the plain logits) is right.

    Source: Tang et al., NeurIPS 2020; code followed: KaihuaTang/Long-Tailed-Recognition.pytorch@2e28976,
    CausalNormClassifier.py, which subtracts the vectors; here the product with the difference is multiplied out.

    Args:
        alpha: strength; 1 removes exactly the projection on E; 1 on CIFAR-10, 1.5 on CIFAR-100, 3 on ImageNet-LT and Places-LT.
            The authors choose alpha so that alpha * mean(cos) is about 1.
    """
    weight, average, factor = _state(predictions)
    parts = predictions.features.reshape(-1, *average.shape)
    direction = F.normalize(average, dim=1, eps=1e-12)
    cosines = (F.normalize(parts, dim=2, eps=1e-12) * direction).sum(2)
    with in_full_precision(predictions):
        explained: Scores = like(cosines @ (weight * direction).sum(2).T, predictions.logits)
    return predictions.logits - alpha * factor * explained


def _state(predictions: Predictions) -> tuple[Tensor, Tensor, Tensor]:
    """The class vectors in parts and shrunk (C, K, D / K), the average (K, D / K), and temperature / K times the scale."""
    needed = ("weight", "average", "temperature", "shrinkage", "scale")
    missing = [name for name in needed if name not in predictions.head]
    if missing:
        raise UserError(
            f"deconfounded needs the state of a CausalHead in predictions.head; missing: {', '.join(missing)}. "
            f"Train with CausalHead as the recipe's head."
        )
    state = {name: predictions.head[name].to(predictions.features) for name in needed}
    weight = shrunk(state["weight"].reshape(-1, *state["average"].shape), state["shrinkage"])
    return weight, state["average"], state["temperature"] / len(state["average"]) * state["scale"]
