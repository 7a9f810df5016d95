"""What a comparison keeps of its validation images, so that the run that was trained again on all images can be tuned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from longtail.errors import DamagedFile
from longtail.inference import Predictions
from longtail.runs.layout import ANSWERS, VALIDATION
from longtail.runs.run import in_half
from longtail.runs.seals import REMEDY, read_json, read_tensors, write_tensors

AGAIN = "Only tuning needs it; with `fresh` the comparison writes it again."


def keep(folder: Path, key: str, parts: Sequence[Predictions]) -> None:
    """Writes the logits of the validation images, in half precision, their labels and the class counts in training.

    Args:
        folder: folder of the comparison.
        key: its hash, as answers.json has it.
        parts: predictions of the chosen candidate's network on its validation images; with folds, of one network per fold.
    """
    state = {
        "key": key,
        "logits": in_half(torch.cat([each.logits for each in parts])),
        "labels": torch.cat([each.labels for each in parts]),
        "class_counts": torch.stack([each.class_counts for each in parts]).mean(0),
    }
    write_tensors(folder / VALIDATION, state)


def kept(folder: Path) -> Predictions | None:
    """The predictions that a comparison keeps, with one feature that says nothing; None where it keeps none, or is none.

    Raises:
        DamagedFile: the file differs from what was written, or is another comparison's.
    """
    if not (folder / ANSWERS).exists():
        return None
    try:
        state = read_tensors(folder / VALIDATION)
    except DamagedFile as error:
        raise DamagedFile(f"{str(error).removesuffix(REMEDY)}{AGAIN}") from error
    if state is None:
        return None
    try:
        if state.get("key") != read_json(folder, ANSWERS)["key"]:
            raise DamagedFile(f"'{folder / VALIDATION}' belongs to another comparison. {AGAIN}")
        logits = state["logits"].float()
        return Predictions(logits.new_zeros(len(logits), 1), logits, state["labels"], state["class_counts"])
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedFile(f"'{folder / VALIDATION}' is damaged: it holds no predictions. {AGAIN}") from error
