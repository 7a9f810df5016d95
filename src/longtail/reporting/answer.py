"""What a report reads of a finished run: its report, its record, its predictions on the test images, and its log."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from longtail.runs.judged import adjusted_to, stored_predictions
from longtail.runs.judging import judged_again
from longtail.runs.listed import Image, listed_images
from longtail.runs.report import RunReport
from longtail.runs.seals import sha256

Array = NDArray[Any]


@dataclass(frozen=True)
class Answer:
    """A finished run as a report shows it, beside others.

    Args:
        name: what the run is called in the report, unique among those shown.
        folder: its run folder.
        report: its results.
        record: what was trained (record.json).
        labels: classes of the test images (M,).
        scores: scores of the run's rule (M, C), float32; their softmax is the probabilities.
        logits: logits of the network before the rule (M, C), float32.
        features: features of the test images (M, D), float32.
        files: paths of the test images below the folder of the data, in the order of `labels`; empty where they have no paths.
        log: one entry per epoch (log.jsonl).
        stored: predicted classes (M,) as the run wrote them, before its scores were rounded to half precision; None, as in runs
            of release 0.1.0, for those of the highest scores.
        split: hash of the run's split.csv, which runs at other image sizes have in common; "" where it is not known.
        notes: sentences on what `longtail tune` changed and on the class frequencies that the scores are adjusted to.
        contents: hash of the content of each of the `files`, "" where it is not known; empty where none is.
        prior: name of the class prior that the scores are adjusted to on demand; None where they are as the run has them.
    """

    name: str
    folder: Path
    report: RunReport
    record: Mapping[str, Any]
    labels: Array
    scores: Array
    logits: Array
    features: Array
    files: Sequence[str]
    log: Sequence[Mapping[str, Any]]
    stored: Array | None = None
    split: str = ""
    notes: Sequence[str] = ()
    contents: Sequence[str] = ()
    prior: str | None = None

    @property
    def images(self) -> list[Image]:
        """Path, class and hash of the content of each test image (M,); empty where they have no paths."""
        names, contents = self.classes, self.contents or [""] * len(self.files)
        return [(file, names[label], content) for file, label, content in zip(self.files, self.labels, contents, strict=False)]

    @property
    def classes(self) -> list[str]:
        """Names of the classes (C,)."""
        return [entry.name for entry in self.report.classes]

    @property
    def predicted(self) -> Array:
        """Predicted classes of the test images (M,)."""
        predicted: Array = self.scores.argmax(1) if self.stored is None else self.stored
        return predicted


def read_answer(
    folder: Path,
    name: str,
    *,
    groups: str,
    prior: str | None = None,
    counts: Sequence[int] | None = None,
    trust_code: bool = False,
) -> Answer:
    """Reads a finished run, or the run that a comparison chose, as it is in use; damaged files are refused.

    The scores of a run that `longtail tune` tuned are the tuned ones, and the report's results are of these.

    Args:
        folder: folder of the run or of the comparison.
        name: what the run is called in the report.
        groups: rule that gathers classes in groups.
        prior: class prior that the scores are adjusted to: uniform, train, or a CSV label,share; None to leave them as they are.
        counts: images per class (C,) that "train" means; those that the run was trained on if not given.
        trust_code: run the user's own code that the model is made of, which a tuned run may need.

    Raises:
        MissingFileError: the folder holds no finished run.
        UserError: a file of the run is damaged, or its scores cannot be adjusted to the prior.
    """
    judged = judged_again(folder, groups=groups, trust_code=trust_code)
    judged = judged if prior is None else adjusted_to(judged, prior, counts=counts)
    run, report, labels = judged.run, judged.report, judged.labels.numpy()
    stored = stored_predictions(run)
    arrays = {"scores": judged.scores.numpy(), "logits": stored["logits"], "features": stored["features"]}
    lines, split = run.read("log.jsonl").decode().splitlines(), run.read("split.csv")
    images = listed_images(split)
    images = images if len(images) == len(labels) else []
    return Answer(
        name=name,
        folder=run.folder,
        report=report,
        record=run.record,
        labels=labels,
        files=[path for path, _, _ in images],
        contents=[content for _, _, content in images],
        log=[json.loads(line) for line in lines],
        stored=judged.scores.argmax(1).numpy(),
        split=sha256(split),
        notes=judged.notes,
        prior=prior,
        **arrays,
    )
