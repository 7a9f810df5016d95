"""A recipe line by line: what each value is, and the path that --set takes for it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise
from typing import Any

from longtail.data.folder import folder_data
from longtail.inference import reference_of
from longtail.spec.description import name_of, parameters_of
from longtail.spec.recipe import Recipe, Setting, Stage
from longtail.weighting import Progress

FITTED_ON = {
    "val": "validation images",
    "train": "training images",
    "test": "the test images that it predicts, without their labels",
}
OF_OPTIMIZER = ("lr", "momentum", "weight_decay", "nesterov")
OF_LAYER_DECAY = "factor of the learning rate from each block of a transformer to the one before; 1 for none"
OF_AVERAGE = "share of the steps over which the moving average of the weights is taken; 0 for none"
OF_HEAD = {"keep": "the existing head", "reset": "the existing head, with new initial weights"}
OF_BATCH_NORM = {"train": "running statistics are updated", "eval": "the backbone's running statistics are fixed"}


@dataclass(frozen=True)
class Line:
    """One value of a recipe or of its setting.

    Args:
        label: name of the value.
        value: the value itself; a function or class is shown by its name.
        path: dotted path for --set; or, beginning with --, the option that changes the value; "" where none does.
        gloss: what the value means, in words.
        depth: number of parts around this one, by which the line is indented.
    """

    label: str
    value: Any
    path: str = ""
    gloss: str = ""
    depth: int = 0

    @property
    def text(self) -> str:
        """The value as --set takes it: JSON, or the name of a function; `none` for null."""
        if callable(self.value):
            return plain_name(self.value)
        if isinstance(self.value, float):
            return f"{self.value:.6g}"
        if isinstance(self.value, (tuple, list)):
            return f"[{', '.join(Line('', item).text for item in self.value)}]"
        if self.value is None:
            return "none"
        return self.value if isinstance(self.value, str) else json.dumps(self.value)


def setting_lines(setting: Setting) -> list[Line]:
    """Lines on data, backbone and the data's own augmentation, which the options of training choose."""
    lines = [Line("setting", setting.name), Line("budget", setting.budget, "--budget")]
    of_data = {"imbalance": "--imbalance", "size": "--size", "split_seed": "--split-seed"}
    lines += part_lines("data", setting.data, options=of_data, only=("imbalance",))
    lines += part_lines("backbone", setting.backbone, options={"": "--backbone", "pretrained": "--pretrained"})
    lines += augmentation_lines("augmentation", setting.augment)
    if setting.symmetry:
        lines.append(Line("symmetry", setting.symmetry, "--symmetry"))
    elif setting.augmentation and getattr(setting.data, "func", None) is folder_data:
        lines.append(Line("symmetry", "as found", "--symmetry", "training images are looked at when training begins"))
    as_found = lines[-1].value == "as found" and setting.views == 1
    lines += [Line("views in evaluation", "those of the symmetry" if as_found else setting.views, "--views")]
    largest = "a quarter of the training images; a method's larger batch shrinks to it, and the learning rate with the batch"
    return [*lines, Line("largest batch", setting.largest_batch, gloss=largest)] if setting.largest_batch else lines


def network_lines(recipe: Recipe) -> list[Line]:
    """Lines on the recipe's wrapper of the backbone, head and projection."""
    wrapper = part_lines("wrapper of the backbone", recipe.backbone_wrapper, "backbone_wrapper")
    projection = part_lines("projection", recipe.projection, "projection")
    return [*wrapper, *part_lines("head", recipe.head, "head"), *projection]


def stage_lines(stage: Stage, path: str) -> list[Line]:
    """Lines on all values of a stage except its departures; `path` is that of the stage, such as stages.0."""
    lines = [*part_lines("loss", stage.loss, f"{path}.loss"), *_if_any("loss on features", stage, path, "feature_loss")]
    lines += part_lines("draw of images", stage.resample, f"{path}.resample")
    lines += _if_any("second draw", stage, path, "companion")
    lines += part_lines("weights of the loss", stage.reweight, f"{path}.reweight")
    lines += [*part_lines("step", stage.step, f"{path}.step"), *_if_any("before the stage", stage, path, "start")]
    lines += [Line("epochs", stage.epochs, f"{path}.epochs"), Line("batch size", stage.batch_size, f"{path}.batch_size")]
    lines += [Line("drop a partial batch", stage.drop_last, f"{path}.drop_last")]
    lines += _optimizer_lines(stage, path)
    lines += [
        *_trained_lines(stage, path),
        Line("rate of earlier blocks", stage.layer_decay, f"{path}.layer_decay", OF_LAYER_DECAY),
        Line("average of weights", stage.average, f"{path}.average", OF_AVERAGE),
        Line("batch norm", stage.batch_norm, f"{path}.batch_norm", OF_BATCH_NORM[stage.batch_norm]),
    ]
    lines += augmentation_lines("augmentation", stage.augment, f"{path}.augment")
    lines += [Line("views of each image", stage.views, f"{path}.views")] if stage.views > 1 else []
    if callable(stage.head):
        lines += part_lines("wrapper of the head", stage.head, f"{path}.head")
    else:
        lines.append(Line("head", stage.head, f"{path}.head", OF_HEAD[stage.head]))
    if callable(stage.backbone_wrapper):
        lines += part_lines("wrapper of the backbone", stage.backbone_wrapper, f"{path}.backbone_wrapper")
    return lines


def inference_lines(recipe: Recipe) -> list[Line]:
    """Lines on the inference rule and the images that it is fitted on."""
    split = reference_of(recipe.inference)
    return [
        *part_lines("rule", recipe.inference, "inference"),
        Line("fitted on", FITTED_ON[split] if split else "nothing"),
    ]


def part_lines(
    label: str, part: Any, path: str = "", *, depth: int = 0, options: Mapping[str, str] | None = None, only: Sequence[str] = ()
) -> Iterator[Line]:
    """Lines on a function or class: its name, and below it every hyper-parameter that is set.

    Args:
        options: where there is no path, the command-line option of each hyper-parameter, and of the part itself under "".
        only: hyper-parameters that are listed even where they were not fixed; () for all that have a value.
    """
    options = options or {}
    yield Line(label, part, "" if part is None else path or options.get("", ""), gloss_of(part), depth)
    for name, value in _set_in(part, only).items():
        below = f"{path}.{name}" if path else options.get(name, "")
        yield from (
            part_lines(name, value, below, depth=depth + 1) if callable(value) else [Line(name, value, below, depth=depth + 1)]
        )


def augmentation_lines(label: str, augment: Sequence[Callable[..., Any]], path: str = "") -> list[Line]:
    """Lines on the augmentations, one after the other; a line with `none` where there are none."""
    if not augment:
        return [Line(label, "none")]
    parts = (part_lines(label if not n else "then", part, f"{path}.{n}" if path else "") for n, part in enumerate(augment))
    return [line for lines in parts for line in lines]


def rates_in_words(rates: Sequence[float]) -> str:
    """Describes how the learning rate changes from epoch to epoch; epochs are counted from 1.

    >>> rates_in_words([0.05, 0.1, 0.1, 0.1, 0.01, 0.01])
    '0.05 in epoch 1; 0.1 from epoch 2; 0.01 from epoch 5'
    """
    parts, epoch = [f"{rates[0]:.3g} in epoch 1" if len(set(rates[:2])) > 1 else f"{rates[0]:.3g} from epoch 1"], 1
    moves = ((after > before) - (after < before) for before, after in pairwise(rates))
    for move, moved in groupby(moves):
        first, epoch = epoch + 1, epoch + len(list(moved))
        if move and first == epoch:
            parts.append(f"{rates[epoch - 1]:.3g} from epoch {epoch}")
        elif move:
            parts.append(f"{'rising' if move > 0 else 'falling'} to {rates[epoch - 1]:.3g} in epoch {epoch}")
    return "; ".join(parts)


def gloss_of(part: Any) -> str:
    """First sentence of the docstring of a function or class; "" for those of torch."""
    function = part.func if isinstance(part, partial) else part
    if not callable(function) or name_of(function).startswith("torch."):
        return ""
    return inspect.cleandoc(function.__doc__ or "").partition("\n")[0].partition(". ")[0].rstrip(".")


def plain_name(function: Callable[..., Any]) -> str:
    """Name of a function or class without its module, as --set takes it."""
    return getattr(function.func if isinstance(function, partial) else function, "__name__", type(function).__name__)


def _set_in(part: Any, only: Sequence[str]) -> dict[str, Any]:
    if not callable(part):
        return {}
    fixed = part.keywords if isinstance(part, partial) else {}
    known = parameters_of(part)
    return {name: value for name, value in known.items() if name in fixed or (name in only if only else value is not None)}


def _optimizer_lines(stage: Stage, path: str) -> Iterator[Line]:
    yield from part_lines("optimizer", stage.optimizer, f"{path}.optimizer", only=OF_OPTIMIZER)
    yield from part_lines("schedule", stage.schedule, f"{path}.schedule")
    rate = parameters_of(stage.optimizer)["lr"]
    rates = [rate * stage.schedule(Progress(epoch, stage.epochs)) for epoch in range(stage.epochs)]
    yield Line("learning rate", rates_in_words(rates))


def _trained_lines(stage: Stage, path: str) -> Iterator[Line]:
    if stage.learning_rates is None:
        yield Line("trained", "every parameter", f"{path}.learning_rates")
        return
    rest = "" if "*" in stage.learning_rates else "; what no pattern names is frozen"
    yield Line("trained", "by name", f"{path}.learning_rates", f"pattern of parameter names, factor of the learning rate{rest}")
    for pattern, factor in stage.learning_rates.items():
        yield Line(pattern, factor, f"{path}.learning_rates.{pattern}", depth=1)


def _if_any(label: str, stage: Stage, path: str, name: str) -> Iterable[Line]:
    part = getattr(stage, name)
    return () if part is None else part_lines(label, part, f"{path}.{name}")
