"""Other runs of one experiment that differ only in images or library versions, to say why a run starts anew."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from typing import Any

from longtail.data.splits import Split
from longtail.errors import UserError
from longtail.results import counted
from longtail.runs.folder import REPORT, RunFolder
from longtail.text import unguarded

SAME = ("recipe", "setting", "seed", "protocol", "precision")
SHOWN = 5
Contents = Mapping[str, str]


def said_of_siblings(run: RunFolder, record: Mapping[str, Any], contents: Callable[[], Contents]) -> str:
    """Sentence on the latest other run of the same experiment but for its images or libraries; "" where there is none.

    Args:
        run: the run that is about to start.
        record: record of that run.
        contents: function that returns the hash of the content of each of its images, by file name; it is called where needed.
    """
    others = sorted(run.folder.parent.glob(f"{record['seed']}-*/record.json"), key=lambda path: -path.stat().st_mtime)
    for path in others:
        other = RunFolder(path.parent)
        changed = _difference(other, record, contents) if other.folder != run.folder else ""
        if changed:
            half = "" if (other.folder / REPORT).exists() else "half-trained "
            return f"'{other.folder}' holds a {half}run that differs in {changed}. It is left as it is; this run starts anew."
    return ""


def _difference(other: RunFolder, record: Mapping[str, Any], contents: Callable[[], Contents]) -> str:
    try:
        former = other.record
        if any(former.get(name) != record[name] for name in SAME):
            return ""
        libraries = former.get("libraries") or {}
        newer = [
            f"{name} {libraries.get(name)}, now {new}" for name, new in record["libraries"].items() if libraries.get(name) != new
        ]
        images = (
            changed_images(listed_contents(other.read("split.csv")), contents()) if former.get("split") != record["split"] else ""
        )
        code = "the source of " + ", ".join(record["sources"]) if former.get("sources") != record["sources"] else ""
        return "; ".join(part for part in (images, *newer, code) if part)
    except (UserError, AttributeError, KeyError, TypeError, ValueError, csv.Error):
        return ""  # what is wrong with another run is no matter of this one


def changed_images(before: Contents, after: Contents) -> str:
    """Which files are new, gone or of another content, as "2 changed images (a.png, b.png)"; "" where there are none.

    A file whose content is not known in both is not said to have changed.
    """
    kinds = {
        "changed": [name for name in after if before.get(name) and after[name] and before[name] != after[name]],
        "new": [name for name in after if name not in before],
        "missing": [name for name in before if name not in after],
    }
    return "; ".join(_named(kind, sorted(names)) for kind, names in kinds.items() if names)


def _named(kind: str, names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{counted(len(names), f'{kind} image')} ({', '.join(names[:SHOWN])}{more})"


def listed_contents(split: bytes) -> Contents:
    """Hash of the content of each image that a split.csv lists, by file name; nothing of a CSV that has no such column."""
    rows = csv.DictReader(io.StringIO(split.decode(errors="surrogateescape"), newline=""))
    known = {"path", "content"} <= set(rows.fieldnames or ())
    return {unguarded(row["path"]): row["content"] or "" for row in rows} if known else {}


def contents_of(splits: Mapping[str, Split]) -> Contents:
    """Hash of the content of each image, by file name; "" where the images are not files."""
    return {file: digest for split in splits.values() for file, digest in zip(split.files, split.contents, strict=True)}
