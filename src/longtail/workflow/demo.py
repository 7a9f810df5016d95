"""The demonstration: three methods on scikit-learn's digits with a long tail, at several seeds, and a figure."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from longtail.runs.files import sweep_dead, write_bytes
from longtail.runs.report import RunReport
from longtail.workflow.one_run import Result, prepared, train_one
from longtail.workflow.request import Request
from longtail.workflow.watcher import Watcher

METHODS = ("ce", "logit_adjusted_post_hoc", "gcl")
NAMES = {"ce": "cross-entropy", "logit_adjusted_post_hoc": "post hoc logit adjustment", "gcl": "GCL"}
Results = Mapping[str, Sequence[Result]]


def demonstrate(request: Request, watcher: Watcher, *, seeds: int, methods: Sequence[str] = METHODS) -> Results:
    """Trains every method at every seed on the same split."""
    setting, data = prepared(request, watcher)
    return {
        method: [train_one(replace(request, method=method, seed=seed), setting, data, watcher=watcher) for seed in range(seeds)]
        for method in methods
    }


def recall_figure(results: Results, path: Path) -> Path:
    """Draws recall per class against training images per class: one line per method, the mean over its runs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for (method, runs), marker in zip(results.items(), "osD^v<>", strict=False):
        counts, recalls = class_recalls([run.report for run in runs])
        order = np.argsort(-counts)
        axes.plot(counts[order], 100 * recalls[order], marker=marker, label=NAMES.get(method, method))
    first = next(iter(results.values()))[0].report
    axes.set(xscale="log", xlabel="training images of the class", ylabel="recall on test images (%)")
    axes.set_title(f"{first.setting}, {first.protocol} protocol, {first.epoch_rule}, n={len(next(iter(results.values())))}")
    axes.invert_xaxis()
    axes.grid(alpha=0.3)
    axes.legend()
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    sweep_dead(path)
    return write_bytes(path, image.getvalue())


def class_recalls(reports: Sequence[RunReport]) -> tuple[Any, Any]:
    """Number of training images of each class, (C,), and recall of each class as a mean over the reports, (C,)."""
    recalls = np.array([report.test.recalls for report in reports], dtype=float)
    return np.array(reports[0].class_counts), recalls.mean(0)
