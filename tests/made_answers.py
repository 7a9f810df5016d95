"""Makes answers of drawn numbers, as if they were read of finished runs, for the tests of reports."""

from pathlib import Path

import numpy as np
import torch

from longtail.data.groups import group_of_each, shot_groups
from longtail.metrics import report as measured
from longtail.reporting.answer import Answer
from longtail.runs.report import ClassEntry, RunReport

UNIFORM = {"call": "longtail.weighting.uniform"}
POWER = {"call": "longtail.weighting.power", "exponent": -1.0}


def long_tailed(classes, largest=500, ratio=100):
    """Training images per class, falling exponentially."""
    return [max(round(largest * ratio ** (-j / max(classes - 1, 1))), 1) for j in range(classes)]


def drawn(counts, test_counts, *, seed=0, names=None, strength=3.0, bias=0.5, **fields):
    """An answer whose logits favour the true class by `strength`, and common classes by `bias` times the log of their images."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), test_counts)
    logits = generator.normal(size=(len(labels), len(counts))).astype(np.float32)
    logits[np.arange(len(labels)), labels] += strength
    logits += np.float32(bias) * np.log(np.array(counts, dtype=np.float32))
    return answer(counts, labels, logits, names=names, **fields)


def answer(
    counts, labels, scores, *, names=None, name="ce", groups="shots", logits=None, folder=Path("none"), record=None, log=()
):
    """An answer with these scores, whose report is measured from them."""
    scores, labels = np.asarray(scores, dtype=np.float32), np.asarray(labels)
    test = measured(torch.from_numpy(scores), torch.from_numpy(labels), shot_groups(counts, rule=groups))
    names = names or [f"class {j}" for j in range(len(counts))]
    group = group_of_each(counts, rule=groups)
    return Answer(
        name=name,
        folder=folder,
        report=RunReport(
            method=name,
            setting="made",
            budget="common",
            protocol="clean",
            epoch_rule="last epoch",
            seed=0,
            precision="32-true",
            device="CPU",
            imbalance=max(counts) / max(min(counts), 1),
            images={"train": sum(counts), "val": 0, "test": len(labels)},
            group_rule=groups,
            test=test,
            val_mean_recall=None,
            transductive=False,
            chosen={},
            stages=(),
            classes=tuple(ClassEntry(*each) for each in zip(names, counts, group, strict=True)),
        ),
        record=record or {"recipe": {"stages": [stage()]}, "stages": []},
        labels=labels,
        scores=scores,
        logits=scores if logits is None else np.asarray(logits, dtype=np.float32),
        features=np.zeros((len(labels), 2), dtype=np.float32),
        files=[],
        log=log,
    )


def stage(epochs=4, resample=UNIFORM, companion=None):
    """What a record says of a stage, as far as reports read it."""
    return {"epochs": epochs, "resample": resample, "companion": companion}
