"""The command that compares a published data set on this machine with what is published."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

from longtail.cli.options import in_flags
from longtail.cli.show import console, say, text
from longtail.cli.tables import grid
from longtail.errors import UserError
from longtail.results import GROUP_RANGES
from longtail.text import for_shell

if TYPE_CHECKING:
    from longtail.data.published_check import SetFound
    from longtail.data.published_lists import Published


def run_check(name: str, folder: Path, *, as_json: bool) -> int:
    """Prints what is in `folder` of a published data set and what is wrong; the exit code is 1 if anything is."""
    from longtail.data.published_check import check_published
    from longtail.data.published_lists import PUBLISHED, Name

    if name not in PUBLISHED:
        raise UserError(
            f"'{name}' has no published lists to compare with; there are {', '.join(PUBLISHED)}. A folder of images is looked at "
            f"by `longtail inspect`."
        )
    with console.status("reading folders") as status:
        found = check_published(
            folder, cast(Name, name), watch=lambda done, total: status.update(f"reading folders: {done:,} of {total:,}")
        )
    if as_json:
        console.print_json(json.dumps({**asdict(found), "folder": str(found.folder), "groups": found.groups}), ensure_ascii=True)
    else:
        _say(found, PUBLISHED[name])
        again = for_shell("longtail", "data", "check", name, "--root", folder)
        train = for_shell("longtail", "train", name, "--root", folder)
        say(f"Next: {text(again)}" if found.problems else f"Next: {text(train)} --method NAME")
    return 1 if found.problems else 0


def _say(found: SetFound, published: Published) -> None:
    table = grid(f"{found.folder}", "images", "published", "missing", names=("list", "content"))
    for each in found.lists:
        table.add_row(each.part, each.content, f"{each.images:,}", f"{published.images[each.part]:,}", f"{each.missing:,}")
    say(table)
    if found.counts:
        ranges, theirs = GROUP_RANGES["shots"], dict(zip(found.groups, published.groups, strict=True))
        groups = (f"{name} ({ranges[name]}): {each:,} classes, published {theirs[name]:,}" for name, each in found.groups.items())
        say(f"training images per class: {max(found.counts):,} to {min(found.counts):,}; {'; '.join(groups)}")
    for problem in found.problems:
        say(f"[yellow]![/yellow] {text(in_flags(problem))}")
    if not found.problems:
        say("All images are there. None was opened: one that is damaged is named when training meets it.")
