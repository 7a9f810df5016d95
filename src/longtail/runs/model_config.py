"""Checks what model/config.json says of a model, before any of it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from longtail.data.squares import Fit, Interpolation
from longtail.errors import UserError
from longtail.results import VIEWS
from longtail.spec.parts import BACKBONE, BACKBONE_WRAPPER, HEAD, HEAD_WRAPPER, NONE, RULE, Parts, Slot, restore

LARGEST_SIZE = 2048  # pixels; an image of that side is 50 MB in float32
LARGEST_PIXEL = 1e6  # of a mean or standard deviation, which lie in [0, 1]
LARGEST_COUNT = 2**53  # images; above it, float64 skips integers
MOST_STAGES = 100  # longtail's recipes have one or two; thousands of nested wrappers take minutes to build


@dataclass(frozen=True)
class Plan:
    """The parts that a model is built of; each is a class or a function with its arguments.

    Args:
        backbone: builds the backbone.
        wrapper: wraps it; None where the recipe wraps nothing.
        head: builds the head.
        stages: what each stage does with the head and the backbone: "keep", "reset", or a wrapper.
        rule: the inference rule, without the tensors that it learned.
    """

    backbone: Any
    wrapper: Any
    head: Any
    stages: tuple[tuple[Any, Any], ...]
    rule: Any


def checked_values(content: Any) -> dict[str, Any]:
    """The object "longtail" of the file, if all of its values have the form that they need.

    Raises:
        UserError: something is missing or has another form; the sentence says what.
    """
    config = content.get("longtail") if isinstance(content, dict) else None
    if not isinstance(config, dict):
        raise UserError("It holds no object 'longtail', so it is not of longtail's models.")
    config = {"interpolation": "bilinear", "fit": "pad", "resize": None, **config}
    fault = next(_faults(config), None)
    if fault is not None:
        raise UserError(fault)
    return config


def square_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """How the model of that configuration takes images, as keywords of `longtail.data.squares.squared`."""
    return {name: config[name] for name in ("size", "interpolation", "fit", "resize")}


def plan_of(config: Mapping[str, Any], own: Parts = NONE) -> Plan:
    """The parts that the checked values name; nothing is built.

    Args:
        own: functions and classes of a user's own that may be named.

    Raises:
        UserError: a name is not that of a part for its place, or its arguments do not fit.
    """

    def part(description: Any, slot: Slot, *words: str | None) -> Any:
        return description if _is_among(description, words) else restore(description, slot, own=own)

    return Plan(
        backbone=part(config["backbone"], BACKBONE),
        wrapper=part(config["wrapper"], BACKBONE_WRAPPER, None),
        head=part(config["head"], HEAD),
        stages=tuple(
            (part(stage["head"], HEAD_WRAPPER, "keep", "reset"), part(stage["backbone"], BACKBONE_WRAPPER, "keep"))
            for stage in config["stages"]
        ),
        rule=part(config["inference"], RULE),
    )


def _faults(config: Mapping[str, Any]) -> Iterator[str]:
    """A sentence on each value that is missing or has another form than it needs."""
    names = ("classes", "class_counts", "size", "mean", "std", "backbone", "wrapper", "head", "stages", "inference")
    missing = [name for name in names if name not in config]
    if missing:
        yield f"It lacks '{missing[0]}'."
    classes = config["classes"]
    if not _is_list(classes) or not classes or not all(isinstance(name, str) for name in classes):
        yield "'classes' has to be a list of texts, the names of the classes."
    elif len(set(classes)) < len(classes):
        yield "'classes' names a class twice."
    counts = config["class_counts"]
    if not _is_list(counts) or not all(_is_number(count) and 0 <= count <= LARGEST_COUNT for count in counts):
        yield "'class_counts' has to be a list of numbers of images, none below 0."
    elif len(counts) != len(classes):
        yield f"'class_counts' has {len(counts)} numbers for {len(classes)} classes."
    if not _is_side(config["size"]):
        yield f"'size' has to be the side of the images, an integer from 1 to {LARGEST_SIZE} pixels."
    if config["interpolation"] not in get_args(Interpolation):
        yield f"'interpolation' has to be one of {', '.join(get_args(Interpolation))}."
    if config["fit"] not in get_args(Fit):
        yield f"'fit' has to be one of {', '.join(get_args(Fit))}."
    resize = config["resize"]
    if resize is not None if config["fit"] == "pad" else not _is_side(resize) or resize < config["size"]:
        yield f"'resize' has to be null for images that are padded, else from the size to {LARGEST_SIZE} pixels."
    views = config.get("views", 1)
    if type(views) is not int or views not in VIEWS:
        yield "'views' has to be the number of views of an image: 1, 2 or 8."
    yield from _faults_of_pixels(config)
    yield from _faults_of_stages(config["stages"])
    if not isinstance(config.get("classifier", ""), str):
        yield "'classifier' has to be a text, timm's name of the classifier."


def _faults_of_pixels(config: Mapping[str, Any]) -> Iterator[str]:
    for name in ("mean", "std"):
        values = config[name]
        if (
            not _is_list(values)
            or len(values) != 3
            or not all(_is_number(value) and abs(value) < LARGEST_PIXEL for value in values)
        ):
            yield f"'{name}' has to be three numbers."
    if min(config["std"]) <= 0:
        yield "'std' has to be three numbers above 0."


def _faults_of_stages(stages: Any) -> Iterator[str]:
    if not _is_list(stages) or not all(isinstance(stage, dict) and {"head", "backbone"} <= stage.keys() for stage in stages):
        yield "'stages' has to be a list of stages, each with a 'head' and a 'backbone'."
    elif len(stages) > MOST_STAGES:
        yield f"'stages' has {len(stages)} stages; at most {MOST_STAGES} are built."


def _is_side(value: Any) -> bool:
    return type(value) is int and 1 <= value <= LARGEST_SIZE


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_among(description: Any, words: tuple[str | None, ...]) -> bool:
    return (description is None or isinstance(description, str)) and description in words
