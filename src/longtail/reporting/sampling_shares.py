"""The figure of how often each class is drawn in training: the sampling probability per class of each stage's samplers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from longtail.errors import UserError
from longtail.reporting.answer import Answer, Array
from longtail.reporting.overlays import looks, name_lines
from longtail.reporting.plotting import new_axes, new_figure
from longtail.reporting.section import Cell, Drawing, Table
from longtail.spec.parts import restore
from longtail.weighting import Progress, Rule

DRAWS = {"resample": "images", "companion": "second batch"}
BALANCED = {"call": "longtail.weighting.uniform"}
CLASS_BALANCED = {"call": "longtail.weighting.power", "exponent": -1.0}
WORDS = {"longtail.weighting.uniform": "instance-balanced"}
DRAWN = 400  # classes whose points are drawn where there are more


@dataclass(frozen=True)
class Sampler:
    """A sampler of a stage: the answer and stage that it belongs to, what it draws, its name, and its probabilities by epoch.

    Args:
        stage: number of the stage, counted from 1.
        epochs: number of epochs of the stage.
        draws: what is drawn: the images, or a second batch beside them.
        name: the rule in words.
        shares: probability of each class (C,), by the name of the epoch ("" where it is the same in all); empty where the rule
            cannot be restored.
    """

    answer: Answer
    stage: int
    epochs: int
    draws: str
    name: str
    shares: Mapping[str, Array]


def sampling_shares(answers: Sequence[Answer]) -> tuple[list[Drawing | Table], list[str]]:
    """Draws the sampling probability per class of each sampler, lists which stage has which, and says which cannot be drawn."""
    samplers = [sampler for answer in answers for sampler in samplers_of(answer)]
    if not samplers:
        return [], []
    unknown = list(dict.fromkeys(sampler.name for sampler in samplers if not sampler.shares))
    sentences = [f"The sampler {', '.join(unknown)} is no part of longtail, so that it is not drawn."] if unknown else []
    lines = _lines(samplers)
    return [*([_drawing(lines)] if lines else []), _table(samplers)], sentences


def samplers_of(answer: Answer) -> Iterator[Sampler]:
    """The samplers of an answer's stages, as its record describes them; instance-balanced where it names none."""
    for number, stage in enumerate(answer.record.get("recipe", {}).get("stages", []), 1):
        for key, draws in DRAWS.items():
            rule = stage.get(key) or (BALANCED if key == "resample" else None)
            if rule is not None:
                epochs = int(stage.get("epochs", 1))
                yield Sampler(answer, number, epochs, draws, in_words(rule), _shares(rule, answer.report.class_counts, epochs))


def sampling_probability(rule: Rule, counts: Sequence[int], progress: Progress) -> Array:
    """Probability n_j w_j / sum_k n_k w_k that an image that is drawn is of class j (C,); 0 for a class without images."""
    images = torch.tensor(counts, dtype=torch.float64)
    present = images > 0
    weights = torch.zeros_like(images)
    weights[present] = rule(images[present], progress).double()
    shares: Array = (images * weights / (images * weights).sum()).numpy()
    return shares


def _shares(described: Any, counts: Sequence[int], epochs: int) -> dict[str, Array]:
    """Probabilities in the first and the last epoch, or once where they are equal; none for a rule of a user's own."""
    try:
        rule = restore(described)
        first, last = (sampling_probability(rule, counts, Progress(epoch, epochs)) for epoch in (0, epochs - 1))
    except UserError:
        return {}
    return {"": first} if np.allclose(first, last) else {", first epoch": first, ", last epoch": last}


def in_words(described: Any) -> str:
    """A rule as its description names it, in words: power (exponent -1)."""
    if not isinstance(described, Mapping):
        return f"{described:g}" if isinstance(described, float) else str(described)
    if described == CLASS_BALANCED:
        return "class-balanced"
    call = str(described.get("call"))
    arguments = ", ".join(f"{name} {in_words(value)}" for name, value in described.items() if name != "call")
    name = WORDS.get(call, call.rpartition(".")[2].replace("_", " "))
    return f"{name} ({arguments})" if arguments else name


def _lines(samplers: Sequence[Sampler]) -> dict[str, tuple[Sampler, Array]]:
    """The lines by name; samplers with equal probabilities are one line."""
    lines: dict[str, tuple[Sampler, Array]] = {}
    for sampler in samplers:
        for epoch, shares in sampler.shares.items():
            name = f"{sampler.name}{epoch}"
            if name in lines and not np.array_equal(lines[name][1], shares):
                name = f"{name}, {sampler.answer.name}"
            lines.setdefault(name, (sampler, shares))
    return lines


def _drawing(lines: Mapping[str, tuple[Sampler, Array]]) -> Drawing:
    caption = (
        "Probability that an image drawn in training is of a class, the classes with the most training images first. The "
        "table says which stage draws by which rule; a flat line is class-balanced."
    )
    rows: list[tuple[Cell, ...]] = []
    for name, (sampler, shares) in lines.items():
        classes = zip(sampler.answer.report.classes, shares, strict=True)
        rows += [(name, entry.name, entry.train_images, float(share)) for entry, share in classes]
    numbers = Table("sampling", caption, ("sampler", "class", "training images", "probability"), rows, shown=False)
    return Drawing("sampling", caption, _figure(lines), numbers)


def _figure(lines: Mapping[str, tuple[Sampler, Array]]) -> Any:
    figure = new_figure(height=3.6 + 0.2 * len(lines))
    axes = new_axes(figure, xlabel="classes, most training images first", ylabel="probability in %", yscale="log")
    for look, (sampler, shares) in zip(looks(list(lines)).values(), lines.values(), strict=True):
        order = np.argsort(-np.array(sampler.answer.report.class_counts), kind="stable")
        places = np.unique(np.linspace(0, len(order) - 1, min(DRAWN, len(order))).astype(int))
        axes.plot(places + 1, 100 * shares[order][places], **{**look, "markersize": 4 if len(order) <= 20 else 0})
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    name_lines(figure, axes)
    return figure


def _table(samplers: Sequence[Sampler]) -> Table:
    columns = ("answer", "stage", "epochs", "draws", "sampler", "most to least common")
    rows = [(each.answer.name, each.stage, each.epochs, each.draws, each.name, _ratio(each)) for each in samplers]
    caption = (
        "What each stage draws its images by; instance-balanced means each image once per epoch. The last column says how "
        "many times as often the class with the most training images is drawn as that with the fewest, in the last epoch."
    )
    return Table("samplers", caption, columns, rows)


def _ratio(sampler: Sampler) -> float | None:
    """Probability of the class with the most training images over that of the class with the fewest, in the last epoch."""
    counts = np.array(sampler.answer.report.class_counts)
    last = [*sampler.shares.values()][-1] if sampler.shares else None
    if last is None or last[counts.argmin()] == 0:
        return None
    return round(float(last[counts.argmax()] / last[counts.argmin()]), 2)
