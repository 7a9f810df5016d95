"""Makes the files of finished runs without training, with scores that are drawn or given."""

import numpy as np
import torch

from longtail.data.groups import group_of_each, shot_groups
from longtail.inference import Predictions
from longtail.metrics import report as measured
from longtail.runs.files import csv_text, encoded
from longtail.runs.folder import REPORT
from longtail.runs.report import ClassEntry, EpochResult, RunReport, StageResult, report_text, write_report
from longtail.runs.run import Run
from longtail.runs.seals import sha256
from longtail.text import guarded


def scores_of(predicted, classes, *, seed=0):
    """Scores (M, C) whose largest is that of the predicted class."""
    scores = np.random.default_rng(seed).normal(size=(len(predicted), classes)).clip(-3, 3).astype(np.float32)
    scores[np.arange(len(predicted)), predicted] = 4
    return torch.from_numpy(scores)


def made_run(folder, counts, labels, predicted, *, names=None, method="ce", seed=0, contents=None, train=(), **of_record):
    """Writes the files of a finished run that a report reads, and returns its folder.

    Args:
        counts: training images per class (C,).
        labels: classes of the test images (M,).
        predicted: predicted classes of the test images (M,).
        contents: hash of the content of each test image; unknown if not given.
        train: paths of the training images that split.csv lists, in folders of their classes.
        of_record: further entries of record.json.
    """
    names = names or [f"class {label}" for label in range(len(counts))]
    labels, scores = torch.as_tensor(labels), scores_of(predicted, len(counts), seed=seed)
    run = Run(folder)
    run.write_record(
        {
            "experiment": sha256(f"{method} {seed} {folder.name}".encode()),
            "recipe": {"name": method, "stages": [], "inference": {"call": "longtail.inference.as_trained"}},
            "setting": {"name": "made"},
            "protocol": "clean",
            "precision": "32-true",
            "split": sha256(str(counts).encode()),
            "seed": seed,
            "source": "nowhere",
            "versions": {"python": "3.11", "longtail": "0.1.0"},
            **of_record,
        }
    )
    run.write("log.jsonl", b'{"stage": 0, "epoch": 0, "loss": 1.0}\n')
    known = contents or [""] * len(labels)
    test = [(f"{names[label]}/{place}.png", names[label], "test", known[place]) for place, label in enumerate(labels)]
    listed = [*((path, path.partition("/")[0], "train", "") for path in train), *test]
    rows = [tuple(map(guarded, row)) for row in listed]
    run.write("split.csv", encoded(csv_text(("path", "label", "split", "content"), rows)))
    features = torch.zeros(len(labels), 2)
    run.write_predictions(Predictions(features, scores, labels, torch.tensor(counts, dtype=torch.float32)), scores)
    report = report_of(counts, labels, scores, names, method, seed)
    run.written[REPORT] = sha256(encoded(report_text(report)))
    run.write_checksums()
    write_report(folder, report)
    return folder


def report_of(counts, labels, scores, names, method, seed):
    test = measured(scores, labels, shot_groups(counts))
    entries = tuple(map(ClassEntry, names, map(int, counts), group_of_each(counts)))
    epoch = EpochResult(1, test.mean_recall, test.group_recalls, test.recalls)
    return RunReport(
        method=method,
        setting="made",
        budget="common",
        protocol="clean",
        epoch_rule="last epoch",
        seed=seed,
        precision="32-true",
        device="CPU",
        imbalance=max(counts) / min(counts),
        images={"train": int(sum(counts)), "test": len(labels)},
        group_rule="shots",
        test=test,
        val_mean_recall=None,
        transductive=False,
        chosen={},
        stages=(StageResult(1, 1, epoch, None, 60.0, None),),
        classes=entries,
    )
