"""A recipe as plain data: what to train, in which stages, and how to predict."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from torch.optim import AdamW

from longtail import heads, inference, schedules, steps, weighting
from longtail.data.augmentation import augmentations, check_augmentation
from longtail.data.symmetry import check_views
from longtail.errors import UserError
from longtail.text import unknown

ADAMW = partial(AdamW, lr=1e-3, weight_decay=0.05)
PROSE = {"prose": True}  # marks a field that does not change what is trained and is left out of descriptions
LATER = {"later": True}  # marks a field that was added later and is left out of descriptions while it has its default


@dataclass(frozen=True)
class Stage:
    """One stretch of training.

    Args:
        loss: `Loss(class_counts)`, hyper-parameters fixed by `partial`.
        epochs: number of passes over the training images.
        batch_size: images per step.
        drop_last: whether a last batch that is not full is left out.
        optimizer: `Optimizer(parameters)`, with its base learning rate fixed.
        schedule: progress -> multiplier of the learning rate.
        resample: rule for drawing images, from `longtail.weighting`.
        reweight: rule for weighting the loss, from `longtail.weighting`.
        step: training step, batch -> scalar, from `longtail.steps`.
        learning_rates: pattern of parameter names -> factor of the learning rate; parameters that no pattern names are frozen.
            Of several patterns of one parameter the narrowest decides, in any order. None: factor 1 for every parameter.
        layer_decay: factor of the learning rate from each block of a transformer to the block before it; 1 for none.
        average: share of the stage's steps over which an exponential moving average of the weights is taken; the averaged weights
            are those that the stage ends with. 0 for none.
        batch_norm: "train", or "eval" to hold the statistics of the backbone's batch norm.
        head: "keep" for the head as it is, "reset" for new weights, or a wrapper for it: `wrapper(head)`, such as `ScaledHead`.
        backbone_wrapper: "keep" for the backbone as it is, or a wrapper for it: `wrapper(backbone, image_size=...)`.
        augment: the method's own augmentations, which follow those of the setting.
        views: number of augmented copies of the images of a batch; those after the first are `batch.views`.
        companion: rule for drawing a second batch beside the first, `batch.companion`; None for none.
        feature_loss: `Loss(class_counts, feature_size=...)` on features, which the step finds as `loss.feature_loss`; its
            parameters are named `loss.feature_loss.*`. None for none.
        start: function `start(model, loss, data)`, run once before the stage; None for none.
        departures: where this stage departs from the paper or from its authors' code; a recipe that reuses the stage keeps them.
    """

    loss: Callable[..., Any]
    epochs: int
    batch_size: int
    optimizer: Callable[..., Any]
    schedule: schedules.Schedule
    drop_last: bool = False
    resample: weighting.Rule = weighting.uniform
    reweight: weighting.Rule = weighting.uniform
    step: Callable[..., Any] = steps.classify
    learning_rates: Mapping[str, float] | None = None
    layer_decay: float = field(default=1.0, metadata=LATER)
    average: float = field(default=0.0, metadata=LATER)
    batch_norm: Literal["train", "eval"] = "train"
    head: Literal["keep", "reset"] | Callable[..., Any] = "keep"
    backbone_wrapper: Literal["keep"] | Callable[..., Any] = field(default="keep", metadata={"recorded_as": "backbone"})
    augment: tuple[Callable[..., Any], ...] = ()
    views: int = 1
    companion: weighting.Rule | None = None
    feature_loss: Callable[..., Any] | None = None
    start: Callable[..., Any] | None = None
    departures: tuple[str, ...] = field(default=(), metadata=PROSE)

    def __post_init__(self) -> None:
        choices = {"batch_norm": ["train", "eval"], "head": ["keep", "reset"], "backbone_wrapper": ["keep"]}
        for name, known in choices.items():
            value = getattr(self, name)
            if not callable(value) and value not in known:
                raise UserError(unknown(name, value, known))
        _check_functions(self, "loss", "optimizer", "schedule", "resample", "reweight", "step")
        _check_functions(self, "companion", "feature_loss", "start", optional=True)
        for name in ("epochs", "batch_size", "views"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise UserError(f"'{name}' must be a whole number of at least 1; got {getattr(self, name)!r}.")
        if not 0 < self.layer_decay <= 1:
            raise UserError(f"'layer_decay' must be above 0 and at most 1; got {self.layer_decay!r}.")
        if not 0 <= self.average <= 0.5:
            raise UserError(f"'average' is a share of the steps, at least 0 and at most 0.5; got {self.average!r}.")
        rates = self.learning_rates
        if rates is not None and not (isinstance(rates, Mapping) and all(isinstance(f, (int, float)) for f in rates.values())):
            raise UserError(f"'learning_rates' must map patterns of parameter names to factors; got {rates!r}.")
        if not isinstance(self.augment, tuple) or not all(map(callable, self.augment)):
            raise UserError(f"'augment' must be a tuple of functions; got {self.augment!r}.")


@dataclass(frozen=True)
class Recipe:
    """A method: its network, its stages, the rule that turns its predictions into scores, and where it comes from.

    Args:
        head: `Head(num_features, num_classes)`.
        backbone_wrapper: wrapper for the setting's backbone, `wrapper(backbone, image_size=...)`; None for none.
        projection: `Projection(num_features)` for losses on features; not part of the finished classifier. None for none.
        year: year of the publication; 0 for none.
        departures: where the recipe departs from the paper or from its authors' code in points that belong to no single stage.
    """

    name: str
    stages: tuple[Stage, ...]
    head: Callable[..., Any] = heads.LinearHead
    inference: inference.InferenceRule = inference.as_trained
    backbone_wrapper: Callable[..., Any] | None = field(default=None, metadata={"recorded_as": "backbone"})
    projection: Callable[..., Any] | None = None
    source: str = field(default="", metadata=PROSE)
    year: int = field(default=0, metadata=PROSE)
    departures: tuple[str, ...] = field(default=(), metadata=PROSE)

    def __post_init__(self) -> None:
        _check_name("recipe", self.name)
        _check_functions(self, "head", "inference")
        _check_functions(self, "backbone_wrapper", "projection", optional=True)
        if not self.stages or not all(isinstance(stage, Stage) for stage in self.stages):
            raise UserError(f"The recipe '{self.name}' needs a tuple of at least one Stage as `stages`; got {self.stages!r}.")

    @property
    def all_departures(self) -> tuple[str, ...]:
        """The recipe's own departures, then those of each stage; a sentence that several stages share is listed once."""
        return tuple(dict.fromkeys((*self.departures, *(note for stage in self.stages for note in stage.departures))))


@dataclass(frozen=True)
class FineTuning:
    """Budget of a first stage that starts from pretrained weights, the same for all methods.

    Args:
        optimizer: `Optimizer(parameters)`, with the learning rate of the head fixed.
        schedule: progress -> multiplier of the learning rates.
        backbone_rate: factor of the learning rate for the backbone.
        layer_decay: factor of the learning rate from each block of a transformer to the block before it; 1 for none.
        average: share of the steps over which the moving average of the weights is taken.
        smoothing: label smoothing, for the losses that take it.
        class_means: whether the head's class vectors start at the mean features of their classes.
    """

    optimizer: Callable[..., Any] = ADAMW
    schedule: schedules.Schedule = schedules.half_cosine
    backbone_rate: float = 1.0
    layer_decay: float = 1.0
    average: float = 0.02
    smoothing: float = 0.1
    class_means: bool = False


@dataclass(frozen=True)
class Setting:
    """Data, network and budget: what stays the same when methods are compared.

    Args:
        name: name of the setting, and of its folder among the runs.
        data: function that reads the data, `data(root) -> Data`.
        backbone: function that builds the network from images to features.
        augment: augmentations of the training images, batched on the device.
        augmentation, symmetry: names that `augment` was made of (`longtail.data.augmentation`); None for the setting's own.
        views: number of views of each image that predictions are averaged over in evaluation: 1, 2 or 8; not used in training.
        epochs, batch_size: number of epochs and batch size of a first stage.
        learning_rate, weight_decay: learning rate and weight decay of SGD with momentum 0.9.
        weights: hash of the file the backbone starts from; "" for random weights.
        benchmark: name under which papers publish on these data, such as "cifar100"; "" for none.
        imbalance: n_max / n_min of that benchmark.
        budget: "paper" gives each method its own batch, optimizer and schedule, "common" gives all the setting's,
            "common-128" that with batch 128 and learning rate 0.1, and "fine-tuning" gives the first stage of all methods that of
            `fine_tuning`.
        fine_tuning: the budget of fine-tuning; None for its usual values.
        largest_batch: upper limit of every method's batch size (a quarter of the training images); None for no limit.
    """

    name: str
    data: Callable[..., Any]
    backbone: Callable[..., Any]
    augment: tuple[Callable[..., Any], ...] = ()
    epochs: int = 200
    batch_size: int = 64
    learning_rate: float = 0.1
    weight_decay: float = 2e-4
    weights: str = ""
    benchmark: str = ""
    imbalance: float | None = None
    budget: str = "paper"
    largest_batch: int | None = None
    fine_tuning: FineTuning | None = field(default=None, metadata=LATER)
    augmentation: str | None = field(default=None, metadata=LATER)
    symmetry: str | None = field(default=None, metadata=LATER)
    views: int = field(default=1, metadata=LATER)

    def __post_init__(self) -> None:
        _check_name("setting", self.name)
        check_views(self.views)
        check_augmentation(self.augmentation, self.symmetry)


def with_augmentation(setting: Setting, augmentation: str | None, symmetry: str | None) -> Setting:
    """The setting with another augmentation or symmetry, by name; None keeps its own."""
    check_augmentation(augmentation, symmetry)
    return replace(
        setting,
        augment=augmentations(setting.augment, augmentation, symmetry),
        augmentation=augmentation or setting.augmentation,
        symmetry=symmetry or setting.symmetry,
    )


def _check_functions(thing: Any, *names: str, optional: bool = False) -> None:
    for name in names:
        value = getattr(thing, name)
        if not callable(value) and not (optional and value is None):
            raise UserError(f"'{name}' must be a function; got {value!r}.")


def _check_name(kind: str, name: str) -> None:
    """Refuses a name that cannot be that of a folder among the runs."""
    if not isinstance(name, str) or not re.fullmatch(r"[\w.+-]+", name) or not name.strip("."):
        raise UserError(
            f"The {kind}'s name must be of letters, digits, '_', '-', '.' and '+', as a folder is named by it; got {name!r}."
        )


def with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe with a first stage of `epochs` epochs; later stages keep their share of it, and have at least one epoch."""
    usual = recipe.stages[0].epochs
    scaled = (replace(stage, epochs=max(round(stage.epochs * epochs / usual), 1)) for stage in recipe.stages)
    return replace(recipe, stages=tuple(scaled))
