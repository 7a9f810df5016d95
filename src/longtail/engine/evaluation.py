"""Forward passes over a split, each image exactly once, and the evaluation of their predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from longtail.data.groups import shot_groups
from longtail.data.loaders import Feed
from longtail.data.splits import Data, Split
from longtail.data.symmetry import mean_over_views
from longtail.engine.compute import Compute
from longtail.errors import UserError
from longtail.inference import InferenceRule, Predictions, Reference, as_trained, fitted, reference_of
from longtail.inference.fitting import function_of
from longtail.metrics import confusion_matrix, mean_recall, per_class_recall, report
from longtail.networks.classifier import Classifier
from longtail.results import SplitResult
from longtail.schedules import first_drop
from longtail.spec.experiment import Experiment


@dataclass(frozen=True)
class Evaluation:
    """A model's result on the test images, its fitted rule, the predictions and scores (M, C), and the validation recall."""

    report: SplitResult
    rule: InferenceRule
    predictions: Predictions
    scores: Tensor
    val_mean_recall: float | None


class ForwardPasses:
    """Predictions of one model on the splits of its data, for one evaluation: each split is read once, then remembered.

    Training images are seen in one view, since there are many of them.
    """

    def __init__(self, model: Any, data: Data, compute: Compute, *, views: int = 1) -> None:
        self.model, self.data, self.compute, self.views = model, data, compute, views
        self._kept: dict[Reference, Predictions] = {}

    def over(self, split: Reference) -> Predictions:
        """Predictions on a split, which the data must have."""
        if split not in self._kept:
            views = 1 if split == "train" else self.views
            self._kept[split] = predict(self.model, self.data.splits[split], self.data, self.compute, views=views)
        return self._kept[split]

    def fit(self, rule: InferenceRule, *, to: Reference = "test") -> InferenceRule:
        """Returns the rule, fitted if it needs to be.

        Args:
            to: the split that the rule is for; a transductive rule looks at the images of that one together.

        Raises:
            UserError: the rule chooses a value on validation images and there are none.
        """
        split = reference_of(rule)
        if split is None:
            return rule
        split = to if split == "test" else split
        if split not in self.data.splits:
            raise UserError("This rule chooses a value on validation images, but none were held out; add `val=0.1`.")
        return fitted(rule, self.over(split))


def evaluate(
    model: Classifier, rule: InferenceRule, data: Data, compute: Compute, *, groups: str = "shots", views: int = 1
) -> Evaluation:
    """Fits the rule if it needs to be fitted, then evaluates it on the test images, and on validation images if there are any.

    Args:
        groups: rule that gathers classes in groups.
        views: number of views of each image, for the images that the rule is fitted on as for those that are evaluated.

    Raises:
        UserError: the rule chooses a value on validation images and there are none.
    """
    passes = ForwardPasses(model, data, compute, views=views)
    ready = passes.fit(rule)
    predictions = passes.over("test")
    scores = _checked_scores(ready, predictions)
    members = shot_groups(data.class_counts, rule=groups)
    val_recall = _val_recall(passes, rule, ready)
    return Evaluation(report(scores, predictions.labels, members), ready, predictions, scores, val_recall)


def _val_recall(passes: ForwardPasses, rule: InferenceRule, ready: InferenceRule) -> float | None:
    """Mean recall on the validation images, of which a transductive rule sees its own sums; None where there are none."""
    if passes.data.val is None:
        return None
    val = passes.over("val")
    ready = passes.fit(rule, to="val") if reference_of(rule) == "test" else ready
    return mean_recall(ready(val), val.labels)


def _checked_scores(rule: InferenceRule, predictions: Predictions) -> Tensor:
    """Scores (M, C) of the rule, refused where they have another shape; what was trained is stored and is not lost."""
    scores: Any = rule(predictions)
    if not isinstance(scores, Tensor) or scores.shape != predictions.logits.shape:
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        expected = tuple(predictions.logits.shape)
        raise UserError(
            f"The rule {function_of(rule).__name__} must return scores of shape {expected}, one per image and class; got {found}."
        )
    return scores


def predict(model: Any, split: Split, data: Data, compute: Compute, *, batch_size: int = 256, views: int = 1) -> Predictions:
    """Computes features and logits of every image exactly once, in the split's order, whatever the number of processes.

    Both are means over the views of an image (`mean_over_views`), so that a rule is applied once, to the mean logits.
    """
    owned = dealt(len(split), batch_size, compute.world)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    with torch.inference_mode(), compute.autocast():
        feed = Feed(split, data, compute.device)
        forward = model.features_and_logits
        own = owned[compute.rank]
        batches = feed.batches(own, batch_size) if len(own) else ()
        parts = [mean_over_views(forward, batch.images, views) for batch in batches]
    for module, training in modes.items():
        module.training = training
    features, logits = (_gathered([part[column] for part in parts], owned, compute) for column in (0, 1))
    return Predictions(
        features=features,
        logits=logits,
        labels=torch.from_numpy(split.labels),
        class_counts=torch.tensor(data.class_counts, dtype=torch.float64),
        head={name: tensor.detach().cpu() for name, tensor in model.head.state_dict().items()},
    )


def judged_epoch(model: Any, experiment: Experiment, stage_index: int, epoch: int, compute: Compute) -> dict[str, Any]:
    """What the log says of an epoch beside its training; no number of it decides anything.

    `val_mean_recall` is the mean recall of the plain logits on the validation images, where some are held out; `test_recalls` are
    the recalls per class on the test images, under the paper protocol from the first drop of the learning rate.
    """
    recipe, stage, data = experiment.recipe, experiment.recipe.stages[stage_index], experiment.data
    rule = recipe.inference if stage_index == len(recipe.stages) - 1 else as_trained
    late = epoch >= first_drop(stage.schedule, stage.epochs)
    judged: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):  # reading files draws from the generator from which dropout draws
        if data.val is not None:
            found = predict(model, data.val, data, compute)
            judged["val_mean_recall"] = mean_recall(found.logits, found.labels)
        if experiment.protocol == "paper" and late and reference_of(rule) != "val":
            judged["test_recalls"] = per_epoch_recalls(model, rule, data, compute, views=experiment.setting.views)
    return judged


def per_epoch_recalls(model: Any, rule: InferenceRule, data: Data, compute: Compute, *, views: int = 1) -> list[float]:
    """Recall of each class on the test images with the rule, (C,), for the paper protocol."""
    passes = ForwardPasses(model, data, compute, views=views)
    scores, labels = passes.fit(rule)(passes.over("test")), passes.over("test").labels
    return per_class_recall(confusion_matrix(scores, labels)).tolist()


def dealt(images: int, batch_size: int, world: int) -> list[Tensor]:
    """The indices of the images of each process: the batches that one process would have, dealt out whole.

    An image is thus computed beside the same others, and to the same bits, whatever the number of processes.
    """
    batches = torch.split(torch.arange(images), batch_size)
    return [torch.cat([torch.arange(0), *batches[rank::world]]) for rank in range(world)]


def _gathered(parts: Sequence[Tensor], owned: Sequence[Tensor], compute: Compute) -> Tensor:
    """Gathers the rows of all processes in the split's order, on the CPU.

    Args:
        parts: rows of this process, batch by batch.
        owned: indices of the rows of each process.
    """
    if compute.world == 1:
        return torch.cat(tuple(parts)).cpu()
    width = max(compute.from_all(parts[0].shape[1] if parts else 0))
    padded = torch.zeros(max(map(len, owned)), width, device=compute.device)
    if parts:
        padded[: len(owned[compute.rank])] = torch.cat(tuple(parts))
    rows = compute.all_gather(padded).cpu()
    whole = rows.new_empty(sum(map(len, owned)), width)
    for indices, own in zip(owned, rows, strict=True):
        whole[indices] = own[: len(indices)]
    return whole
