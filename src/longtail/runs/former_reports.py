"""Converts reports of earlier releases to the current form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]


def translated(content: Json) -> Json:
    """Converts a report of release 0.1.0 to version 1.

    Its stages have sentences as keys ("last epoch", "best epoch on the test set"), and hold the mean recall and the recall of
    each group, not of each class. The test result belongs to the end of the last stage, so the recalls there are known.

    Raises:
        ValueError: `content` is not a report.
    """
    try:
        *earlier, last = content["stages"]
        stages = [*(_stage(stage, None) for stage in earlier), _stage(last, content["test"]["recalls"])]
    except KeyError as error:
        raise ValueError(f"it lacks {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError("its stages are not those of a finished run") from error
    return {"transductive": False, **content, "stages": stages}


def with_views(content: Any) -> Any:
    """The content of a report, with the one view per image of the runs that were made before there were more."""
    return {"views": 1, **content} if isinstance(content, dict) else content


def _stage(former: Json, recalls: Sequence[float] | None) -> Json:
    best = former.get("best epoch on the test set")
    return {
        **former,
        "last_epoch": _epoch({"epoch": former["epochs"], **former["last epoch"]}, recalls),
        "best_test_epoch": None if best is None else _epoch(best, None),
    }


def _epoch(former: Json, recalls: Sequence[float] | None) -> Json:
    groups = {name: recall for name, recall in former.items() if name not in ("epoch", "mean_recall")}
    return {"epoch": former["epoch"], "mean_recall": former["mean_recall"], "groups": groups, "recalls": recalls}
