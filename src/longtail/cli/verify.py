"""The command that checks run folders: which files are damaged, and how each is made again."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from longtail.cli.options import in_flags
from longtail.cli.show import console, say, text
from longtail.results import counted
from longtail.runs.verify import Finding, verify

DAMAGED = 1


def run_verify(folders: Sequence[Path], *, as_json: bool) -> int:
    """Checks all files of the runs in or below the folders, prints what is damaged, and returns the exit code, 1 if any is."""
    found = [finding for folder in folders for finding in verify(folder)]
    if as_json:
        print(json.dumps([{**asdict(each), "path": os.fspath(each.path)} for each in found], indent=1))
    else:
        _print(found)
    return DAMAGED if any(each.state == "damaged" for each in found) else 0


def _print(found: Sequence[Finding]) -> None:
    for each in found:
        if each.state == "damaged":
            console.print(
                f"[red]{text(in_flags(each.problem))}[/red] {text(in_flags(each.remedy))}", highlight=False, soft_wrap=True
            )
    counts = Counter(each.state for each in found)
    unchecked = f", {counts['unchecked']} without a checksum (release 0.1.0)" if counts["unchecked"] else ""
    say(f"{counted(len(found), 'file')}: {counts['whole']} whole, {counts['damaged']} damaged{unchecked}.")
