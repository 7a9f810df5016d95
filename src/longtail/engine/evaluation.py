"""One exact forward pass over a split, and what it is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from longtail.data.groups import shot_groups
from longtail.data.loaders import Feed
from longtail.data.splits import Data, Split
from longtail.errors import UserError
from longtail.inference import InferenceRule, Predictions, fitted, reference_of
from longtail.metrics import Report, confusion_matrix, mean_recall, per_class_recall, report
from longtail.networks.classifier import Classifier

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Judged:
    """A model's test result, with the rule as it was fitted and the scores behind it."""

    report: Report
    rule: InferenceRule
    predictions: Predictions
    scores: Tensor
    val_mean_recall: float | None


def judge(model: Classifier, rule: InferenceRule, data: Data, fabric: Fabric, *, groups: str = "shots") -> Judged:
    """Fits the rule where it must be fitted, then judges it on the test images.

    Raises:
        UserError: the rule chooses something on validation images and there are none.
    """
    reference = reference_of(rule)
    if reference is not None:
        split = data.splits.get(reference)
        if split is None:
            raise UserError("This rule chooses a value on validation images, but none were held out; add --val 0.1.")
        rule = fitted(rule, predict(model, split, data, fabric))
    predictions = predict(model, data.test, data, fabric)
    scores = rule(predictions)
    members = shot_groups(data.class_counts, rule=groups)
    val_recall = None
    if data.val is not None:
        held_out = predict(model, data.val, data, fabric)
        val_recall = mean_recall(rule(held_out), held_out.labels)
    return Judged(report(scores, predictions.labels, members), rule, predictions, scores, val_recall)


def predict(model: Any, split: Split, data: Data, fabric: Fabric, *, batch_size: int = 256) -> Predictions:
    """Features and logits of every image exactly once, in the split's order, whatever the number of processes."""
    bare: Classifier = getattr(model, "module", model)
    mine = torch.arange(len(split))[fabric.global_rank :: fabric.world_size]
    modes = {module: module.training for module in bare.modules()}
    bare.eval()
    with torch.inference_mode(), fabric.autocast():
        feed = Feed(split, data, fabric.device)
        parts = [_forward(bare, batch.images) for batch in feed.batches(mine, batch_size)]
    for module, training in modes.items():
        module.training = training
    features, logits = (torch.cat(column).float() for column in zip(*parts, strict=True))
    return Predictions(
        features=_gathered(features, len(split), fabric),
        logits=_gathered(logits, len(split), fabric),
        labels=torch.from_numpy(split.labels),
        class_counts=torch.tensor(data.class_counts, dtype=torch.float64),
        head={name: tensor.detach().cpu() for name, tensor in bare.head.state_dict().items()},
    )


def per_epoch_recalls(model: Any, rule: InferenceRule, data: Data, fabric: Fabric) -> list[float]:
    """Recall per class on the test set under the rule, for the paper protocol."""
    if reference_of(rule) == "train":
        rule = fitted(rule, predict(model, data.train, data, fabric))
    predictions = predict(model, data.test, data, fabric)
    return per_class_recall(confusion_matrix(rule(predictions), predictions.labels)).tolist()


def _forward(model: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    features = model.backbone(images)
    return features, model.head(features)


def _gathered(rows: Tensor, total: int, fabric: Fabric) -> Tensor:
    """All processes' rows back in the split's order, on the CPU."""
    if fabric.world_size == 1:
        return rows.cpu()
    longest = -(-total // fabric.world_size)
    padded = torch.cat([rows, rows.new_zeros(longest - len(rows), rows.shape[1])])
    everyone: Tensor = fabric.all_gather(padded)
    return everyone.transpose(0, 1).reshape(longest * fabric.world_size, -1)[:total].cpu()
