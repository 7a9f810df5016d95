"""Every path below the folder of all runs."""

from __future__ import annotations

import re
from pathlib import Path


def folder_name(path: Path) -> str:
    """The folder's or the file's own name, safe for a path."""
    return re.sub(r"[^\w.-]+", "_", path.resolve().stem if path.is_file() else path.resolve().name) or "folder"
