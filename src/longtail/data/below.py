"""What lies below a folder, and which of it belongs to runs of longtail, whose pictures are no data."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from longtail.data.images import read_content

RECORD, RECORD_KEYS, RECORD_BYTES = "record.json", {"experiment", "recipe"}, 2**26
OWNER, OWNER_KEYS = "data.json", {"data", "classes"}  # says whose a folder of runs is
FIGURE = "demo.png"


@dataclass
class Below:
    """What lies below a folder: paths of its image files and of its other files, and the folders of runs of longtail."""

    images: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    runs: set[Path] = field(default_factory=set)

    def of_runs(self, path: Path, root: Path) -> bool:
        """Whether a file lies in the folder of a setting's runs below `root`, or is the figure of a demonstration beside one."""
        path, root = Path(os.path.abspath(path)), Path(os.path.abspath(root))
        for run in self.runs:
            setting = run.parent.parent
            inside = setting == root or root in setting.parents
            if (inside and setting in path.parents) or (path.name == FIGURE and path.parent.parent == setting.parent):
                return True
        return False


def runs_in(folder: str, files: Collection[str]) -> Iterator[Path]:
    """The run that a folder is, or the first run in a folder of runs, which may not have begun yet; none in other folders."""
    if RECORD in files and _has_keys(Path(folder, RECORD), RECORD_KEYS):
        yield Path(os.path.abspath(folder))
    if OWNER in files and _has_keys(Path(folder, OWNER), OWNER_KEYS):
        yield Path(os.path.abspath(folder), "method", "run")


def _has_keys(path: Path, keys: set[str]) -> bool:
    """Whether a file is one that longtail writes in runs; other programs have files of these names, too."""
    try:
        content = json.loads(read_content(path)) if path.stat().st_size <= RECORD_BYTES else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.keys() >= keys
