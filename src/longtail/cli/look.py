"""Looks at a collection of images and at this installation: inspect and doctor."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Column, Table

from longtail.cli.options import in_flags
from longtail.cli.show import console, say, text
from longtail.data.walking import some
from longtail.results import GROUP_RANGES, counted
from longtail.text import for_shell

if TYPE_CHECKING:
    from longtail.data.findings import Inspection

SHOWN = 8


def run_inspect(path: Path, *, outside: bool = False, max_pixels: int | None = None) -> None:
    """Prints a collection's counts, sizes and colour modes, and what is wrong with it."""
    from longtail.data.inspection import inspect as look

    with console.status("reading images") as status:
        found = look(path, outside=outside, watch=lambda done, total: status.update(f"reading images: {done} of {total}"))
    _say_counts(found)
    _say_images(found)
    for note in found.notes:
        say(text(in_flags(note)))
    for warning in found.warnings:
        say(f"[yellow]![/yellow] {text(in_flags(warning))}")
    for title, groups in (("Identical files, different labels", found.conflicts), ("Identical files in two splits", found.leaks)):
        for files in groups[:SHOWN]:
            say(f"  {title}: {text(' = '.join(files))}")
        if len(groups) > SHOWN:
            say(f"  … and {len(groups) - SHOWN:,} more")
    for file, why in list(found.corrupt.items())[:SHOWN]:
        say(f"  Corrupt: {text(file)} ({text(in_flags(why))})")
    if needed := _needed(found):
        say(f"First: {text(needed)}")
    command = for_shell("longtail", "train", path, *_flags(found, outside=outside, max_pixels=max_pixels))
    console.print(f"Next: [bold cyan]{text(command)}[/bold cyan]", highlight=False, soft_wrap=True)


def _needed(found: Inspection) -> str:
    """The step without which training would refuse the images; "" where it would not."""
    if found.empty_classes:
        return _to_fill(found.empty_classes)
    if len(found.counts) < 2:
        return "add images of a second class; training tells classes apart and refuses one alone."
    if strange := [name for names in found.unknown.values() for name in names]:
        its = "its" if len(strange) == 1 else "their"
        return f"add training images of {some(strange)}, or remove {its} other images; training refuses them so."
    if not found.splits and max(found.counts.values()) == 1:
        return "add images; with one per class none is left for test, and training refuses them so."
    return ""


def _to_fill(empty: Sequence[str]) -> str:
    """The step without which training would refuse folders of classes that have no images."""
    it, folders = ("it", "folder") if len(empty) == 1 else ("them", "folders")
    return f"add images to the class {folders} {some(repr(name) for name in empty)}, or remove {it}; training refuses {it} so."


def _flags(found: Inspection, *, outside: bool, max_pixels: int | None) -> list[str]:
    """The flags without which training would refuse what was inspected."""
    largest = max([*found.large.values(), max_pixels or 0])
    flags = ["--outside"] * outside + ["--skip-corrupt"] * bool(found.corrupt)
    return [*flags, "--max-pixels", str(largest)] if largest else flags


def _say_counts(found: Inspection) -> None:
    total = sum(found.counts.values())
    imbalance = f"; imbalance {found.imbalance:.1f}"
    most, fewest = (sorted(found.counts.items(), key=lambda pair: sign * pair[1])[0] for sign in (-1, 1))
    spread = f"{most[1]:,} ({text(most[0])}) to {fewest[1]:,} ({text(fewest[0])})" if most[1] > fewest[1] else f"{most[1]:,} each"
    say(f"{counted(total, 'image')} in {counted(len(found.counts), 'class')}: {spread}{'' if found.splits else imbalance}")
    for name, counts in found.splits.items():
        images, classes = counted(sum(counts.values()), "image"), counted(sum(map(bool, counts.values())), "class")
        say(f"  {text(name)}: {images} in {classes}{imbalance * (name == 'train')}")
    ranges = GROUP_RANGES["shots"]
    groups = ((f"{name} ({ranges[name]})", group) for name, group in found.groups.items())
    say("; ".join(f"{name}: {counted(group.classes, 'class')}, {counted(group.images, 'image')}" for name, group in groups))
    table = Table(Column("class", overflow="fold"), "images", Column(overflow="crop", no_wrap=True), box=None, header_style="dim")
    largest = most[1]
    ranked = sorted(found.counts.items(), key=lambda pair: -pair[1])
    for name, count in ranked if len(ranked) <= 2 * SHOWN else [*ranked[:SHOWN], ("...", 0), *ranked[-SHOWN:]]:
        bar = "█" * max(round(40 * count / largest), 1) if count else ""
        table.add_row(text(name), f"{count:,}" if count else "", bar)
    say(table)


def _say_images(found: Inspection) -> None:
    for side in ("width", "height"):
        size = getattr(found, side)
        if size is not None:
            say(f"{side}: {size.smallest} to {size.largest} pixels, median {size.median:g}")
    say(f"modes: {_tally(found.modes.items())}; formats: {_tally(found.formats.items())}")


def _tally(pairs: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{text(name)} {count:,}" for name, count in pairs) or "–"


def run_doctor() -> None:
    """Prints what a bug report needs, and which packages do not load."""
    import torch

    from longtail.engine.devices import has_bfloat16
    from longtail.runs.devices import chosen_device, why_no_cuda
    from longtail.runs.provenance import commit, versions

    for package, version in {**versions(), "commit": commit() or "installed package"}.items():
        say(f"{package:18} {text(version)}")
    device = chosen_device("auto")
    name = torch.cuda.get_device_name() if device == "cuda" else counted(torch.get_num_threads(), "thread")
    say(f"{'device':18} {device} ({text(name)})")
    say(f"{'bfloat16':18} {'native' if has_bfloat16(device) else 'not native here, so --precision auto means 32-true'}")
    if device == "cpu":
        say(f"{'cuda':18} not available: {text(why_no_cuda())}")
    for package in ("timm", "torchvision", "safetensors", "sklearn", "matplotlib", "tensorboard"):
        try:
            importlib.import_module(package)
        except Exception as error:
            say(rf"[red]{package} does not load ({type(error).__name__}). Install it with pip install 'longtail\[train]'.[/red]")
    say("Next: longtail demo")
