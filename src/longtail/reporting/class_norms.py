"""The figure of the lengths of the class vectors, before and after the second stage, the classes with the most images first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from longtail.errors import UserError
from longtail.reporting.answer import Answer, Array
from longtail.reporting.overlays import Look, looks_of, name_lines
from longtail.reporting.plotting import labelled, new_axes, new_figure
from longtail.reporting.section import Drawing, Table
from longtail.runs.folder import RunFolder
from longtail.runs.layout import stages_of
from longtail.runs.seals import read_tensors

BINS = 30  # points that are drawn at most, each the mean of neighbouring classes
END = "end"  # name of the finished run among the stages
STAGE = re.compile(r"[0-9a-f]{64}")
COSINES = ("longtail.heads.CosineHead", "longtail.heads.ExpertsHead")


@dataclass(frozen=True)
class Norms:
    """Lengths of an answer's class vectors (C,) at the end of a stage, and what the line is called."""

    answer: Answer
    stage: str
    values: Array

    @property
    def name(self) -> str:
        """Name of the answer, and of the stage where it is not the last."""
        return self.answer.name if self.stage == END else f"{self.answer.name}, {self.stage}"

    @property
    def by_count(self) -> Array:
        """The lengths, those of the classes with the most training images first, divided by their mean (C,)."""
        order = np.argsort(-np.array(self.answer.report.class_counts), kind="stable")
        ranked: Array = self.values[order] / max(float(self.values.mean()), 1e-12)
        return ranked

    @property
    def sentence(self) -> str:
        """How much longer the vectors of the common classes are than those of the rare ones."""
        fifth = max(len(self.values) // 5, 1)
        ratio = self.by_count[:fifth].mean() / max(self.by_count[-fifth:].mean(), 1e-12)
        return (
            f"{self.name}: the vectors of the most common fifth of the classes have {ratio:.2f} times the length of the rarest."
        )


def class_norms(answers: Sequence[Answer]) -> tuple[list[Drawing], list[str]]:
    """Draws the norms of the class vectors of the answers' heads, and says whose cannot be read or have no influence."""
    found = [norms for answer in answers for norms in _norms_of(answer)]
    known = {norms.answer.name for norms in found}
    missing = [answer.name for answer in answers if answer.name not in known]
    sentences = [norms.sentence for norms in found if not _uses_cosines(norms.answer)]
    sentences += [f"The head of {', '.join(missing)} has no class vectors that can be read from the run."] if missing else []
    cosines = [answer.name for answer in answers if answer.name in known and _uses_cosines(answer)]
    if cosines:
        sentences.append(
            f"The head of {', '.join(cosines)} computes cosines, which the lengths of the class vectors do not change."
        )
    return ([_drawing(found, looks_of(answers))] if found else []), sentences


def _norms_of(answer: Answer) -> Iterator[Norms]:
    """Norms at the end of the earlier stages that are still stored, then those of the finished run."""
    for number, key in enumerate(answer.record.get("stages", [])[:-1], 1):
        norms = norms_of(_stage(answer, key), len(answer.classes))
        if norms is not None:
            yield Norms(answer, f"after stage {number}", norms)
    norms = norms_of(_model(answer), len(answer.classes))
    if norms is not None:
        yield Norms(answer, END, norms)


def _stage(answer: Answer, key: str) -> Mapping[str, Any]:
    """Tensors of the network at the end of a stage; none where they are not stored any more, or damaged."""
    try:
        state = read_tensors(stages_of(answer.folder) / f"{key}.pt") if STAGE.fullmatch(key) else None
    except UserError:
        return {}
    tensors: Mapping[str, Any] = (state or {}).get("model", {})
    return tensors


def _model(answer: Answer) -> Mapping[str, Any]:
    """Tensors of the finished network, the weight of its head as `head.weight`; none where there are none that can be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    run = RunFolder(answer.folder)
    try:
        tensors: dict[str, Any] = load(run.read("model/model.safetensors"))
        config = run.read_json("model/config.json")
    except (UserError, SafetensorError):
        return {}
    own = config.get("longtail") if isinstance(config, dict) else None
    classifier = own.get("classifier") if isinstance(own, dict) else None
    weight = tensors.get(f"{classifier}.weight")
    return tensors if weight is None else {"head.weight": weight.flatten(1)}


def norms_of(tensors: Mapping[str, Any], classes: int) -> Array | None:
    """Lengths (C,) of the class vectors of a head, times the factors per class that a head around it has learned (LWS).

    The vectors are the weight of the innermost head, `head.weight` or `head.inner.weight`; None where there is none of C rows.
    Source: Kang et al., ICLR 2020, Fig. 2.
    """
    weights = [tensor for name, tensor in tensors.items() if re.fullmatch(r"head\.(inner\.)*weight", name) and tensor.ndim == 2]
    if not weights or len(weights[0]) != classes:
        return None
    norms: Array = weights[0].float().norm(dim=1).numpy()
    factors = tensors.get("head.class_scale")
    if factors is None or any(name.startswith("head.confidence") for name in tensors):  # DisAlign's depend on the image
        return norms
    scaled: Array = norms * np.abs(factors.float().numpy())
    return scaled


def _uses_cosines(answer: Answer) -> bool:
    head = answer.record.get("recipe", {}).get("head", {})
    return isinstance(head, dict) and head.get("call") in COSINES


def _drawing(found: Sequence[Norms], styles: Mapping[str, Look]) -> Drawing:
    classes = found[0].answer.report.classes
    binned = f" Each point is the mean of neighbouring classes, {BINS} in all." if len(classes) > BINS else ""
    caption = (
        "Lengths of the class vectors of the network's head, each divided by the mean over the classes, the classes with the "
        f"most training images first. A falling line means that common classes have longer vectors, which favours them "
        f"where the head does not compute cosines.{binned}"
    )
    columns = ("answer", "end of", "class", "training images", "norm")
    rows = [
        (
            norms.answer.name,
            "training" if norms.stage == END else norms.stage.removeprefix("after "),
            c.name,
            c.train_images,
            float(v),
        )
        for norms in found
        for c, v in zip(norms.answer.report.classes, norms.values, strict=True)
    ]
    return Drawing("class-norms", caption, _figure(found, styles), Table("class-norms", caption, columns, rows, shown=False))


def _figure(found: Sequence[Norms], styles: Mapping[str, Look]) -> Any:
    figure = new_figure(height=3.8)
    axes = new_axes(figure, xlabel="classes, most training images first", ylabel="norm / mean norm")
    for norms in found:
        values = norms.by_count
        parts = np.array_split(np.arange(len(values)), min(BINS, len(values)))
        look = {**styles[norms.answer.name], "label": labelled(norms.name), "markersize": 4 if len(parts) <= 20 else 0}
        if norms.stage != END:
            look |= {"linestyle": (0, (1.5, 1.5)), "alpha": 0.75, "markerfacecolor": "none"}
        axes.plot([part.mean() + 1 for part in parts], [values[part].mean() for part in parts], **look)
    axes.xaxis.get_major_locator().set_params(integer=True)
    name_lines(figure, axes)
    return figure
