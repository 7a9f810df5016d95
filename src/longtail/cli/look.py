"""The commands that print and train nothing: inspect, list, table, doctor."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Column, Table

from longtail.cli.options import in_flags
from longtail.cli.show import console, lines_on_stderr, say, text
from longtail.cli.tables import differences, grid, rows_table
from longtail.errors import MissingFileError, UserError
from longtail.results import GROUP_RANGES, counted
from longtail.text import for_shell

if TYPE_CHECKING:
    from longtail.data.findings import Inspection
    from longtail.spec.recipe import Recipe

SHOWN = 8
METHOD_COLUMNS = ("name", "stages", "parameters", "cost", "parts", "source")


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
    for file, why in list(found.corrupt.items())[:SHOWN]:
        say(f"  Corrupt: {text(file)} ({text(in_flags(why))})")
    command = for_shell("longtail", "train", path, *_flags(found, outside=outside, max_pixels=max_pixels))
    console.print(f"Next: [bold cyan]{text(command)}[/bold cyan]", highlight=False, soft_wrap=True)


def _flags(found: Inspection, *, outside: bool, max_pixels: int | None) -> list[str]:
    """The flags without which training would refuse what was inspected."""
    largest = max([*found.large.values(), max_pixels or 0])
    flags = ["--outside"] * outside + ["--skip-corrupt"] * bool(found.corrupt)
    return [*flags, "--max-pixels", str(largest)] if largest else flags


def run_list(what: str, *, as_json: bool) -> None:
    """Prints methods, settings or backbones, one line each."""
    from longtail.spec.description import unknown

    listers = {"methods": _methods, "settings": _settings, "backbones": _backbones}
    if what not in listers:
        raise UserError(unknown("list", what, list(listers)))
    rows = listers[what]()
    if as_json:
        console.print_json(json.dumps(rows), ensure_ascii=True)
        return
    if what == "methods":
        rows = [{**row, METHOD_COLUMNS[4]: _parts(row)} for row in rows]
    shown = METHOD_COLUMNS if what == "methods" else tuple(rows[0])
    table = grid(what, names=shown)
    table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(*(text(str(row[name]).partition(";")[0]) for name in shown))
    say(table)
    if what == "methods":
        say("parameters: those of the network up to its features, on cifar100_lt (ResNet-32).")
        say("parts: those that differ from training with cross-entropy. Variants of each method: --json.")
        say("cost: arithmetic of the training at the common budget, where cross-entropy's is 1.")
    say("Next: longtail train DATA --method NAME" if what == "methods" else "Next: longtail train DATA")


def run_table(setting: str, runs: Path, *, budget: str | None, results: Sequence[Path], form: str) -> None:
    """Prints every finished run of a setting or of a folder of images, best mean recall last."""
    from longtail.cli.tables import rows_sheet
    from longtail.reporting.sheets import FORMATS, TEXT
    from longtail.runs.results_file import results_in
    from longtail.runs.table import rows_of

    def note(line: str) -> None:
        say(text(line))

    with lines_on_stderr(form != TEXT):
        rows = rows_of(runs, setting, budget=budget, further=results_in(results, note=note), note=note)
    if form != TEXT:
        print(FORMATS[form](rows_sheet(rows)), end="")
        return
    say(rows_table(rows))
    for line in differences(rows):
        say(text(line))
    say(f"Next: {text(for_shell('longtail', 'train', setting))} --method NAME")


def run_results(runs: Sequence[Path], output: Path) -> None:
    """Adds finished runs to a file of results."""
    from longtail.runs.results_file import add_results, results_below, results_in

    def note(line: str) -> None:
        say(text(line))

    found = []
    for path in runs:
        found += results_below(path, note=note) if path.is_dir() else results_in([path], note=note)
    if not found:
        raise MissingFileError(f"There is no finished run in {', '.join(map(repr, map(str, runs)))}.")
    added = add_results(output, found, note=note)
    again = f"; {counted(len(found) - added, 'run')} written anew" if added < len(found) else ""
    say(f"{counted(added, 'run')} added to {text(output)}{again}")
    say(f"Next: longtail table TABLE --results {text(output)}")


def run_doctor() -> None:
    """Prints what a bug report needs, and which packages do not load."""
    import torch

    from longtail.engine.devices import has_bfloat16
    from longtail.runs.devices import chosen_device, why_no_cuda
    from longtail.runs.provenance import commit, versions

    for package, version in {**versions(), "commit": commit() or "installed package"}.items():
        say(f"{package:18} {text(version)}")
    device = chosen_device("auto")
    name = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
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


def _say_counts(found: Inspection) -> None:
    total = sum(found.counts.values())
    imbalance = f"; imbalance {found.imbalance:.1f}"
    most, fewest = (sorted(found.counts.items(), key=lambda pair: sign * pair[1])[0] for sign in (-1, 1))
    say(
        f"{counted(total, 'image')} in {counted(len(found.counts), 'class')}: "
        f"{most[1]:,} ({text(most[0])}) to {fewest[1]:,} ({text(fewest[0])}){'' if found.splits else imbalance}"
    )
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


def _methods() -> list[dict[str, Any]]:
    from longtail import recipes
    from longtail.settings import cifar100_lt
    from longtail.spec.cost import stage_sizes, training_cost
    from longtail.spec.description import parameters_of

    setting = replace(cifar100_lt(), budget="common")
    usual = training_cost(recipes.ce(setting), setting)
    rows = []
    for function in recipes.ALL:
        recipe = function(setting)
        rows.append(
            {
                "name": recipe.name,
                "year": recipe.year or "–",
                "what": (inspect.getdoc(function) or "").splitlines()[0],
                "stages": len(recipe.stages),
                **_changes(recipe),
                "parameters": f"{stage_sizes(recipe, setting)[-1].parameters / 1e6:.2f} M",
                "cost": f"{training_cost(recipe, setting) / usual:.2f}",
                "variants": ", ".join(parameters_of(function)) or "–",
                "source": recipe.source,
                "departures": list(recipe.all_departures),
            }
        )
    return rows


def _changes(recipe: Recipe) -> dict[str, str]:
    """Parts that differ from plain training: loss, draw and weights, head and network, inference."""
    stages = recipe.stages
    losses = [part for stage in stages for part in (stage.loss, stage.feature_loss, stage.step) if part is not None]
    draws = [rule for stage in stages for rule in (stage.resample, stage.companion, stage.reweight) if rule is not None]
    wrappers = [part for stage in stages for part in (stage.head, stage.backbone_wrapper) if callable(part)]
    networks: list[Any] = [
        part for part in (recipe.head, recipe.backbone_wrapper, recipe.projection, *wrappers) if part is not None
    ]
    networks += ["reset" for stage in stages if stage.head == "reset"]
    return {
        "loss": _named(losses, {"CrossEntropyLoss", "classify"}),
        "draw, weights": _named(draws, {"uniform"}),
        "head": _named(networks, {"LinearHead"}),
        "inference": _named([recipe.inference], {"as_trained"}),
    }


def _parts(row: dict[str, Any]) -> str:
    """The parts of a method that differ from plain training, in one cell."""
    named = (row[part] for part in ("loss", "draw, weights", "head", "inference"))
    return ", ".join(part for part in named if part != "–") or "–"


def _named(parts: Sequence[Any], usual: set[str]) -> str:
    names = dict.fromkeys(part if isinstance(part, str) else getattr(part, "func", part).__name__ for part in parts)
    return ", ".join(name for name in names if name not in usual) or "–"


def _settings() -> list[dict[str, Any]]:
    from longtail.settings import NAMED

    return [{"name": name, "what": (inspect.getdoc(function) or "").splitlines()[0]} for name, function in NAMED.items()]


def _backbones() -> list[dict[str, Any]]:
    import timm

    from longtail.networks.timm_backbone import OTHERS
    from longtail.settings import CIFAR_RESNETS

    own = [{"name": name, "from": "CIFAR ResNet"} for name in CIFAR_RESNETS]
    own += [{"name": name, "from": "timm's blocks"} for name in OTHERS]
    return [*own, *({"name": name, "from": "timm"} for name in timm.list_models())]


def _tally(pairs: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{text(name)} {count:,}" for name, count in pairs) or "–"
