"""Short experiments on digits, how one is cut off, and the comparison of what two of them give."""

import json
from dataclasses import replace

import torch

from longtail import settings
from longtail.data.splits import hold_out

SETTING = replace(settings.digits_lt(), epochs=3)


CLOCK = ("seconds", "images_per_second")


class InterruptedRun(Exception):  # noqa: N818
    """Stands for whatever ends a process."""


def two_stages(build, first=2, second=3):
    recipe = build(SETTING)
    stages = [replace(stage, epochs=epochs) for stage, epochs in zip(recipe.stages, (first, second), strict=True)]
    return replace(recipe, stages=tuple(stages))


def cut_off(index, epoch, step=3):
    def watch(stage, progress):
        if (stage, progress.epoch, progress.step) == (index, epoch, step):
            raise InterruptedRun

    return watch


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def without_clock(history):
    return [{name: value for name, value in entry.items() if name not in CLOCK} for entry in history]


def log_of(folder):
    path = folder / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def with_val(data):
    return hold_out(data, 0.2, seed=0)
