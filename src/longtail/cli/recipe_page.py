"""Prints the recipe of a method as it would be trained, as text or as JSON."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from rich.table import Table
from rich.text import Text

from longtail import recipes
from longtail.cli.options import FIELDS, in_flags
from longtail.cli.recipe_lines import Line, inference_lines, network_lines, plain_name, setting_lines, stage_lines
from longtail.cli.show import console, say, text
from longtail.inference import reference_of
from longtail.spec.cost import plain_size, stage_sizes, training_cost
from longtail.spec.description import describe, parameters_of
from longtail.spec.recipe import Recipe, Setting, with_epochs
from longtail.text import for_shell, visible
from longtail.workflow.checks import check
from longtail.workflow.choices import largest_batch
from longtail.workflow.request import Request, default_of, flag
from longtail.workflow.resolve import chosen_recipe, chosen_setting, has_own_data, recipe_function

VALUE = 15  # width of a value in characters, so that the paths after the values are aligned


def run_show(request: Request, *, as_json: bool) -> None:
    """Prints the recipe that the request names; nothing is trained, and of images at most their sizes are read."""
    check(request)
    setting, choice = _setting(request)
    recipe = chosen_recipe(request, setting)
    if as_json:
        console.print_json(json.dumps(_as_json(request, setting, recipe)), ensure_ascii=True)
        return
    say(f"[bold]{text(recipe.name)}[/bold]{text(f' · {recipe.year}') * bool(recipe.year)} · {text(recipe.source or 'no source')}")
    for line in (_summary(request), *in_flags(choice).split("\n"), _variants_in_words(request)):
        if line:
            say(text(line))
    _say_sections(setting, recipe)
    say(f"\n{_size_in_words(setting, recipe)}")
    cost = f"{_cost(request, setting, recipe):.2f}"
    say(f"Training costs {cost} times what cross-entropy costs at the same budget, in multiply-adds.")
    say(text(f"Next: {_command(request)}"))


def sections_of(setting: Setting, recipe: Recipe) -> dict[str, tuple[list[Line], tuple[str, ...]]]:
    """Lines and departures of the page under each heading."""
    sections = {"Data": (setting_lines(setting), ()), "Network": (network_lines(recipe), recipe.departures)}
    for index, stage in enumerate(recipe.stages):
        heading = f"Stage {index + 1} of {len(recipe.stages)}"
        sections[heading] = (stage_lines(stage, f"stages.{index}"), stage.departures)
    return sections | {"Inference": (inference_lines(recipe), ())}


def _setting(request: Request) -> tuple[Setting, str]:
    """The setting that the request would be trained on, and a sentence on what was chosen for a folder.

    The digits come with scikit-learn: where an imbalance was asked for, their training images are counted anew.
    """
    setting, path, choice = chosen_setting(request)
    if setting.largest_batch is not None and request.imbalance is not None and has_own_data(request):
        setting = replace(setting, largest_batch=largest_batch(len(setting.data(path).train)))
    return setting, choice


def _say_sections(setting: Setting, recipe: Recipe) -> None:
    sections = sections_of(setting, recipe)
    widest = max(len(_label(line)) for lines, _ in sections.values() for line in lines)
    for heading, (lines, departures) in sections.items():
        say(f"\n[bold]{heading}[/bold]")
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(width=widest, no_wrap=True)
        table.add_column()
        for line in lines:
            table.add_row(text(_label(line)), _value(line))
        for departure in departures:
            table.add_row("  departure", text(in_flags(departure)))
        say(table)


def _label(line: Line) -> str:
    return f"{'  ' * (line.depth + 1)}{line.label}"


def _value(line: Line) -> Text:
    """Text of a line: the value and its path, and below them what the value means."""
    value = visible(line.text)
    shown = Text(f"{value:<{VALUE}} " if line.path else value)
    shown.append(visible(line.path), style="cyan")
    return shown.append(f"\n{visible(line.gloss)}", style="dim") if line.gloss else shown


def _summary(request: Request) -> str:
    return (inspect.getdoc(recipe_function(request.method)) or "").partition("\n\n")[0].replace("\n", " ")


def _variants(request: Request) -> dict[str, Any]:
    """Keywords of the method, each with the list of its allowed values, or else with its default."""
    function = recipe_function(request.method)
    hints = get_type_hints(function)
    known = {name: value for name, value in parameters_of(function).items() if name != "setting"}
    choices = {name: list(get_args(hints[name])) for name in known if get_origin(hints.get(name)) is Literal}
    return {name: choices.get(name, plain_name(value) if callable(value) else value) for name, value in known.items()}


def _variants_in_words(request: Request) -> str:
    def in_words(value: Any) -> str:
        return "|".join(map(str, value)) if isinstance(value, list) else Line("", value).text

    words = (name if value is None else f"{name}={in_words(value)}" for name, value in _variants(request).items())
    variants = ", ".join(words)
    return f"Variants (--with): {variants}" if variants else ""


def _cost(request: Request, setting: Setting, recipe: Recipe) -> float:
    """Training cost in arithmetic, divided by that of cross-entropy at the same budget."""
    plain = recipes.ce(setting)
    plain = plain if request.epochs is None else with_epochs(plain, request.epochs)
    return training_cost(recipe, setting) / training_cost(plain, setting)


def _size_in_words(setting: Setting, recipe: Recipe) -> str:
    """A sentence on the parameters and the arithmetic of the finished network, beside those of the setting's own."""
    sizes, plain = stage_sizes(recipe, setting), plain_size(setting)
    if not sizes or plain is None:
        return "The network's size is not known: it cannot be built and run here."
    own = f"The network has {sizes[-1].parameters:,} parameters up to its features"
    if sizes[-1] == plain:
        return f"{own}, as that of cross-entropy."
    share = f"{sizes[-1].multiply_adds / plain.multiply_adds:.2f}"
    return f"{own}, that of cross-entropy {plain.parameters:,}; a pass through it takes {share} times the arithmetic."


def _command(request: Request) -> str:
    """Command that trains the recipe that is shown."""
    words = ["longtail", "train", str(request.data), "--method", request.method]
    for name, option in FIELDS.items():
        value = getattr(request, name)
        if name in ("data", "method") or value == default_of(option):
            continue
        pairs = [f"{key}={each}" for key, each in value.items()] if isinstance(value, Mapping) else [value]
        words += [word for each in pairs for word in ([flag(name)] if each is True else [flag(name), str(each)])]
    return for_shell(*words)


def _as_json(request: Request, setting: Setting, recipe: Recipe) -> dict[str, Any]:
    lines = [line for section, _ in sections_of(setting, recipe).values() for line in section]
    paths = {line.path: line for line in lines if line.path and not line.path.startswith("--")}
    return {
        "method": recipe.name,
        "year": recipe.year,
        "source": recipe.source,
        "summary": _summary(request),
        "variants": _variants(request),
        "setting": describe(setting),
        "recipe": describe(recipe),
        "values": {path: line.text if callable(line.value) else line.value for path, line in paths.items()},
        "learning_rates_in_words": [line.value for line in lines if line.label == "learning rate"],
        "fitted_on": reference_of(recipe.inference),
        "parameters": sizes[-1].parameters if (sizes := stage_sizes(recipe, setting)) else None,
        "cost": round(_cost(request, setting, recipe), 4),
        "departures": {"recipe": recipe.departures, "stages": [stage.departures for stage in recipe.stages]},
    }
