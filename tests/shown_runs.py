"""Makes answers as a report reads them, without files, and with the record of a recipe where one is given."""

from pathlib import Path

import numpy as np
import torch

from longtail.data.groups import group_of_each, shot_groups
from longtail.metrics import report as measured
from longtail.reporting.answer import Answer
from longtail.runs.report import ClassEntry, RunReport
from longtail.spec.description import describe


def shown_run(counts, labels, scores, *, name="run", recipe=None, features=None, names=None, data=None, **more):
    """An answer.

    Args:
        counts: training images per class (C,).
        labels: classes of the test images (M,).
        scores: their scores and logits (M, C).
        data: what the record says of how the images are read.
        more: folder of the run, and paths of its test images.
    """
    names = names or [f"class {label}" for label in range(len(counts))]
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float32)
    test = measured(torch.from_numpy(scores), torch.from_numpy(labels), shot_groups(counts))
    report = RunReport(
        method=name,
        setting="made",
        budget="common",
        protocol="clean",
        epoch_rule="last epoch",
        seed=0,
        precision="32-true",
        device="CPU",
        imbalance=max(counts) / min(counts),
        images={"train": sum(counts), "test": len(labels)},
        group_rule="shots",
        test=test,
        val_mean_recall=None,
        transductive=False,
        chosen={},
        stages=(),
        classes=tuple(map(ClassEntry, names, counts, group_of_each(counts))),
    )
    record = {"recipe": describe(recipe) if recipe else {}, "setting": {"name": "made", "data": data}}
    features = scores if features is None else np.asarray(features, dtype=np.float32)
    more = {"folder": Path("nowhere"), "files": (), "log": (), **more}
    return Answer(name=name, report=report, record=record, labels=labels, scores=scores, logits=scores, features=features, **more)
