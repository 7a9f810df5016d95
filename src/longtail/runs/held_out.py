"""What a comparison keeps of its validation images, so that the run that was trained again on all images can be tuned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from longtail.errors import DamagedFile
from longtail.inference import Predictions
from longtail.runs.layout import ANSWERS, VALIDATION
from longtail.runs.run import in_half
from longtail.runs.seals import REMEDY, read_json, read_tensors, write_tensors

AGAIN = "Only tuning needs it; with `fresh` the comparison writes it again."


@dataclass(frozen=True)
class Kept:
    """What a comparison keeps of its validation images.

    Args:
        predictions: the network's predictions on them, with one feature that says nothing.
        scored: whether their logits are scores of the chosen rule, fitted to that network, and no logits of the network.
    """

    predictions: Predictions
    scored: bool


def keep(folder: Path, key: str, chosen: str, parts: Sequence[Predictions], *, scored: bool) -> None:
    """Writes the logits or scores of the validation images, in half precision, their labels and the class counts in training.

    Args:
        folder: folder of the comparison.
        key, chosen: its hash, and the name of what it chose, as answers.json has them.
        parts: predictions of the chosen candidate's network on its validation images; with folds, of one network per fold.
        scored: whether their logits are scores of its rule.
    """
    state = {
        "key": key,
        "chosen": chosen,
        "scored": scored,
        "logits": in_half(torch.cat([each.logits for each in parts])),
        "labels": torch.cat([each.labels for each in parts]),
        "class_counts": torch.stack([each.class_counts for each in parts]).mean(0),
    }
    write_tensors(folder / VALIDATION, state)


def kept(folder: Path) -> Kept | None:
    """What a comparison keeps of its validation images; None where it keeps nothing, or is none.

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
        answers = read_json(folder, ANSWERS)
        if state.get("key") != answers["key"] or state.get("chosen", answers["chosen"]) != answers["chosen"]:
            raise DamagedFile(f"'{folder / VALIDATION}' belongs to another comparison. {AGAIN}")
        logits = state["logits"].float()
        predictions = Predictions(logits.new_zeros(len(logits), 1), logits, state["labels"], state["class_counts"])
        return Kept(predictions, bool(state.get("scored", False)))  # former versions kept logits alone
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedFile(f"'{folder / VALIDATION}' is damaged: it holds no predictions. {AGAIN}") from error
