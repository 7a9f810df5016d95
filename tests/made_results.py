"""Finished runs as they are stored, made without training."""

import json

from longtail.results import GroupResult, SplitResult
from longtail.runs.report import ClassEntry, EpochResult, RunReport, StageResult
from longtail.runs.results_file import StoredResult
from longtail.runs.seals import plain
from longtail.spec.description import describe
from longtail.workflow.cells import Cells
from longtail.workflow.request import Request, request_of
from longtail.workflow.resolve import chosen_recipe, chosen_setting

GROUPS = {name: GroupResult(0.5, 1, 1, 10) for name in ("many", "medium", "few")}
CLASSES = tuple(
    ClassEntry(name, count, group) for name, count, group in (("a", 200, "many"), ("b", 50, "medium"), ("c", 5, "few"))
)


def stage_of(epochs, recall, best=None):
    last, chosen = (None if each is None else EpochResult(epochs, each, {}, (each,) * 3) for each in (recall, best))
    return StageResult(1, epochs, last, chosen, 60.0, 100.0)


def made(
    cell, recall, *, seed=0, epochs=None, budget=None, best=None, since="2026-01-01", experiment=None, held_out=0, **options
):
    """The result of a published cell, as if it had been trained: described by its own recipe, with the recall that is given."""
    base = Request("x", epochs=epochs, budget=budget, **options)
    request = request_of(cell, base, seed=seed)
    setting = chosen_setting(request)[0]
    recipe = chosen_recipe(request, setting)
    record = {
        "experiment": experiment or f"{cell.method} {cell.column.data} {cell.variants} {recall} {seed} {epochs} {budget} {since}",
        "recipe": json.loads(json.dumps(plain(describe(recipe)))),
        "setting": json.loads(json.dumps(plain(describe(setting)))),
        "seed": seed,
        "protocol": "clean" if best is None else "paper",
        "precision": "32-true",
        "split": "0" * 64,
        "since": since,
        "starts": [{"host": "private"}],
    }
    stages = tuple(stage_of(stage.epochs, recall, best) for stage in recipe.stages)
    images = {"train": 255, "test": 30, **({"val": held_out} if held_out else {})}
    test = SplitResult(recall, recall, 0.1, GROUPS, (recall,) * 3, (10, 10, 10))
    about = (recipe.name, setting.name, setting.budget, record["protocol"], "last epoch", seed, "32-true", "CPU", 40.0)
    return StoredResult(record, RunReport(*about, images, "shots", test, None, False, {}, stages, CLASSES, setting.views))


def identify(**options):
    """The function that names a cell's experiment."""
    return Cells(Request("x", **options)).identify
